/**
 * Draws what a terminal showed as an SVG: `node tools/terminal-picture.ts < captured > docs/pictures/demo.svg`. The input is the text with
 * its colour codes (FORCE_COLOR=1 npm run demo -- --once), so the picture is a real run, not a drawing of one. Options:
 * `--from TEXT` and `--to TEXT` cut at the first line that has them, `--title TEXT` names the window.
 */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { from: { type: 'string' }, to: { type: 'string' }, title: { type: 'string', default: 'bulkhead' } },
});

const fontSize = 13;
const lineHeight = 19;
const columnWidth = 7.83;
const padding = 18;
const barHeight = 32;

interface Style {
  readonly colour: string | null;
  readonly bold: boolean;
  readonly dim: boolean;
}
interface Piece extends Style {
  readonly column: number;
  readonly text: string;
}

const normal: Style = { colour: null, bold: false, dim: false };
const colours: Readonly<Record<number, string>> = { 31: 'red', 32: 'green', 33: 'yellow', 35: 'magenta', 36: 'cyan' };

function changed(style: Style, code: number): Style {
  if (code === 0) return normal;
  if (code === 1) return { ...style, bold: true };
  if (code === 2) return { ...style, dim: true };
  if (code === 22) return { ...style, bold: false, dim: false };
  if (code === 39) return { ...style, colour: null };
  return colours[code] === undefined ? style : { ...style, colour: colours[code] };
}

function piecesOf(line: string): readonly Piece[] {
  const pieces: Piece[] = [];
  let style = normal;
  let column = 0;
  // oxlint-disable-next-line no-control-regex -- the escape character is what is looked for
  for (const part of line.split(/(\u001B\[[0-9;]*m)/)) {
    if (part.startsWith('\u001B[')) {
      for (const code of part.slice(2, -1).split(';')) style = changed(style, Number(code));
    } else if (part !== '') {
      pieces.push({ ...style, column, text: part });
      column += [...part].length;
    }
  }
  return pieces;
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

function cut(lines: readonly string[]): readonly string[] {
  const start = values.from === undefined ? 0 : lines.findIndex((line) => line.includes(values.from!));
  const rest = lines.slice(Math.max(0, start));
  const end = values.to === undefined ? -1 : rest.findIndex((line, index) => index > 0 && line.includes(values.to!));
  return end < 0 ? rest : rest.slice(0, end);
}

const lines = cut(readFileSync(0, 'utf8').replaceAll('\r', '').trimEnd().split('\n'));
const columns = Math.max(
  ...lines.map((line) => piecesOf(line).reduce((sum, piece) => sum + [...piece.text].length, 0)),
);
const width = Math.ceil(columns * columnWidth + 2 * padding);
const height = lines.length * lineHeight + barHeight + 2 * padding;

const text = lines.flatMap((line, row) =>
  piecesOf(line)
    .filter((piece) => piece.text.trim() !== '')
    .map((piece) => {
      const kinds = [piece.colour, piece.bold ? 'bold' : null, piece.dim ? 'dim' : null].filter(
        (kind) => kind !== null,
      );
      const x = (padding + piece.column * columnWidth).toFixed(1);
      const y = barHeight + padding + row * lineHeight + fontSize;
      const className = kinds.length === 0 ? '' : ` class="${kinds.join(' ')}"`;
      return `<text x="${x}" y="${y}"${className} xml:space="preserve">${escaped(piece.text)}</text>`;
    }),
);

process.stdout
  .write(`<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">
<title>${escaped(values.title)}</title>
<style>
  text { font: ${fontSize}px ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; fill: #1f2328; }
  .window { fill: #ffffff; stroke: #d0d7de; } .bar { fill: #f6f8fa; }
  .bold { font-weight: 600; } .dim { fill: #6e7781; }
  .red { fill: #b42318; } .green { fill: #1a7f37; } .yellow { fill: #9a6700; } .magenta { fill: #8250df; } .cyan { fill: #0b6e8a; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; } .window { fill: #0d1117; stroke: #30363d; } .bar { fill: #161b22; } .dim { fill: #8b949e; }
    .red { fill: #ff7b72; } .green { fill: #56d364; } .yellow { fill: #e3b341; } .magenta { fill: #d2a8ff; } .cyan { fill: #76e3ea; }
  }
</style>
<rect class="window" x="0.5" y="0.5" width="${width - 1}" height="${height - 1}" rx="8"/>
<path class="bar" d="M1 ${barHeight} V9 a8 8 0 0 1 8 -8 H${width - 9} a8 8 0 0 1 8 8 V${barHeight} Z"/>
<text class="dim" x="${padding}" y="21">${escaped(values.title)}</text>
${text.join('\n')}
</svg>
`);
