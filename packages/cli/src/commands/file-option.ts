/** `-f`, as all commands that take documents have it. */
const gather = (value: string, before: readonly string[] | undefined): readonly string[] => [...(before ?? []), value];

export const fileFlag = [
  '-f, --file <path>',
  'file, folder, or - for standard input; may be repeated',
  gather,
] as const;
