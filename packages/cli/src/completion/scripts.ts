/** The shells' side of completion: each hands the words to `bulkhead __complete` and offers the lines that come back. */

export const completionShells = ['bash', 'zsh', 'fish'] as const;
export type CompletionShell = (typeof completionShells)[number];

const bash = `# bash completion for bulkhead. Load it with:  source <(bulkhead completion bash)
_bulkhead() {
  local IFS=$'\\n'
  COMPREPLY=($(bulkhead __complete -- "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  if [[ \${#COMPREPLY[@]} -eq 0 && \${COMP_WORDS[COMP_CWORD-1]} =~ ^(-f|--file|--ca-file|--token-file)$ ]]; then
    COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
  fi
}
complete -F _bulkhead bulkhead
`;

const zsh = `#compdef bulkhead
# zsh completion for bulkhead. Load it with:  source <(bulkhead completion zsh)
_bulkhead() {
  local -a offers
  offers=("\${(@f)$(bulkhead __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ -n "\${offers[1]}" ]]; then compadd -- "\${offers[@]}"; else _files; fi
}
compdef _bulkhead bulkhead
`;

const fish = `# fish completion for bulkhead. Load it with:  bulkhead completion fish | source
function __bulkhead_offers
  set -l words (commandline -opc) (commandline -ct)
  bulkhead __complete -- $words[2..-1] 2>/dev/null
end
complete -c bulkhead -f -a '(__bulkhead_offers)'
complete -c bulkhead -s f -l file -r -F
`;

export const completionScripts: Readonly<Record<CompletionShell, string>> = { bash, zsh, fish };
