/** Writes the TypeScript text of `generated/maps.ts` from the BTF of the built objects. Pure. */
import { sizeOf, type Btf, type BtfField, type BtfType } from './btf.ts';
import { layoutHash, layoutText } from './layout.ts';

type Struct = Extract<BtfType, { kind: 'struct' | 'union' }>;
type Enumeration = Extract<BtfType, { kind: 'enum' }>;

/** How one field is typed, read and written; `at` is the text of its offset. */
interface FieldCodec {
  readonly type: string;
  readonly read: (at: string) => string;
  readonly write: (at: string, value: string) => string;
}

const schemaStruct = 'schema';

function camel(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}
function pascal(name: string): string {
  const text = camel(name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}
function isPadding(field: BtfField): boolean {
  return /^padding\d*$/.test(field.name);
}

function scalarCodec(size: number): FieldCodec {
  const big = size === 8;
  const name = big ? 'BigUint64' : `Uint${size * 8}`;
  const order = size === 1 ? '' : ', true';
  return {
    type: big ? 'bigint' : 'number',
    read: (at) => `view.get${name}(${at}${order})`,
    write: (at, value) => `view.set${name}(${at}, ${value}${order})`,
  };
}

/** By the rules of bpf/maps.h sixteen bytes are an address in network order, and six a MAC address. */
function codecOf(field: BtfField): FieldCodec {
  const { type } = field;
  if (field.bits === 0 && (type.kind === 'integer' || type.kind === 'enum')) return scalarCodec(type.size);
  if (type.kind === 'array' && type.element.kind === 'integer') {
    if (type.element.size === 1 && type.length === 16) {
      return {
        type: 'string',
        read: (at) => `addressAt(view, ${at})`,
        write: (at, value) => `putAddress(${value}, view, ${at})`,
      };
    }
    if (type.element.size === 1 && type.length === 6) {
      return {
        type: 'string',
        read: (at) => `macAt(view, ${at})`,
        write: (at, value) => `putMac(${value}, view, ${at})`,
      };
    }
    const element = scalarCodec(type.element.size);
    const { size } = type.element;
    if (type.length === 2) {
      return {
        type: `readonly [${element.type}, ${element.type}]`,
        read: (at) => `[${element.read(at)}, ${element.read(`${at} + ${size}`)}]`,
        write: (at, value) =>
          `${element.write(at, `${value}[0]`)};\n  ${element.write(`${at} + ${size}`, `${value}[1]`)}`,
      };
    }
    return {
      type: `readonly ${element.type}[]`,
      read: (at) => `Array.from({ length: ${type.length} }, (_, index) => ${element.read(`${at} + index * ${size}`)})`,
      write: (at, value) =>
        `for (let index = 0; index < ${type.length}; index++) ${element.write(`${at} + index * ${size}`, `${value}[index]!`)}`,
    };
  }
  throw new Error(`Field ${field.name} has a type that no codec is made for.`);
}

function structText(struct: Struct): string {
  const name = pascal(struct.name);
  const fields = struct.fields.filter((field) => !isPadding(field));
  const lines = [`/** \`struct ${struct.name}\`: size and offsets in bytes. */`];
  const offsets = fields.map((field) => `${camel(field.name)}: ${field.offset}`);
  lines.push(`export const ${camel(struct.name)}Layout = { size: ${struct.size}, ${offsets.join(', ')} } as const;`);
  lines.push(`export interface ${name}Fields {`);
  for (const field of fields) lines.push(`  readonly ${camel(field.name)}: ${codecOf(field).type};`);
  lines.push('}');
  lines.push(`export function read${name}(view: DataView, at: number): ${name}Fields {`, '  return {');
  for (const field of fields) lines.push(`    ${camel(field.name)}: ${codecOf(field).read(`at + ${field.offset}`)},`);
  lines.push('  };', '}');
  lines.push(`export function write${name}(view: DataView, at: number, fields: ${name}Fields): void {`);
  for (const field of struct.fields) {
    if (isPadding(field)) {
      const bytes = sizeOf(field.type);
      lines.push(`  for (let index = 0; index < ${bytes}; index++) view.setUint8(at + ${field.offset} + index, 0);`);
    } else {
      lines.push(`  ${codecOf(field).write(`at + ${field.offset}`, `fields.${camel(field.name)}`)};`);
    }
  }
  lines.push('}');
  return lines.join('\n');
}

/** `enum tcp_state { tcp_syn_sent = 1 }` becomes `tcpState = { synSent: 1 }`: what all values share is left out. */
function enumText(enumeration: Enumeration): string {
  const names = enumeration.values.map((value) => value.name);
  let shared = names[0] ?? '';
  while (shared !== '' && !names.every((name) => name.startsWith(shared))) shared = shared.slice(0, -1);
  const prefix = names.length > 1 ? shared.slice(0, shared.lastIndexOf('_') + 1) : '';
  const values = enumeration.values.map((value) => `${camel(value.name.slice(prefix.length))}: ${value.value}`);
  return `/** \`enum ${enumeration.name}\` */\nexport const ${camel(enumeration.name)} = { ${values.join(', ')} } as const;`;
}

function countersText(counters: Enumeration): string {
  const prefix = 'counter_';
  const names = counters.values
    .filter((value) => value.name.startsWith(prefix))
    .sort((a, b) => a.value - b.value)
    .map((value) => value.name.slice(prefix.length));
  return `/** Names of the counters, by number; they are part of the API. */\nexport const counterNames = [${names.map((name) => `'${name}'`).join(', ')}] as const;`;
}

function byName<T extends { readonly name: string }>(values: Iterable<T>): T[] {
  return [...values].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Structs and enums that maps and the schema mention, each once, by name. */
function mentioned(btf: Btf): { readonly structs: readonly Struct[]; readonly enums: readonly Enumeration[] } {
  const structs = new Map<string, Struct>();
  const enums = new Map<string, Enumeration>();
  const visit = (type: BtfType | null): void => {
    if (type?.kind === 'enum') enums.set(type.name, type);
    if (type?.kind !== 'struct') return;
    for (const field of type.fields) visit(field.type);
    if (type.name !== schemaStruct) structs.set(type.name, type);
  };
  for (const map of btf.maps) {
    visit(map.key);
    visit(map.value);
  }
  return { structs: byName(structs.values()), enums: byName(enums.values()) };
}

export function codecsText(btf: Btf): string {
  const { structs, enums } = mentioned(btf);
  const maps = btf.maps.map((map) => map.name).sort();
  return [
    "/**\n * Codecs of the kernel's maps. Generated by tools/generate-maps.ts from the BTF of the built objects: do not edit.\n *",
    ...layoutText(btf)
      .split('\n')
      .map((line) => ` * ${line}`),
    ' */',
    "import {\n  readAddress as addressAt,\n  readMac as macAt,\n  writeAddress as putAddress,\n  writeMac as putMac,\n} from '../address.ts';",
    '',
    '/** Hash of the layout of all maps. Objects with another layout do not fit these codecs. */',
    `export const layout = '${layoutHash(btf)}';`,
    `export const mapNames = [${maps.map((name) => `'${name}'`).join(', ')}] as const;`,
    'export type MapName = (typeof mapNames)[number];',
    '',
    ...enums.map((enumeration) => (enumeration.name === 'counter' ? countersText(enumeration) : enumText(enumeration))),
    '',
    structs.map(structText).join('\n\n'),
    '',
  ].join('\n');
}
