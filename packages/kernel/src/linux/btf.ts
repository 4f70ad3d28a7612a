/**
 * Reader of BTF (the kernel's type format, Documentation/bpf/btf.rst): structs with the offsets of their fields, enums with their
 * values, and the maps that an object declares. Pure.
 */

export interface BtfField {
  readonly name: string;
  /** Bytes from the start of the struct. */
  readonly offset: number;
  readonly type: BtfType;
  /** Bits for a bit-field, with `bitOffset` from the start of the struct; 0 for a whole field. */
  readonly bits: number;
  readonly bitOffset: number;
}

export type BtfType =
  | { readonly kind: 'integer'; readonly name: string; readonly size: number; readonly signed: boolean }
  | { readonly kind: 'pointer'; readonly target: () => BtfType }
  | { readonly kind: 'array'; readonly element: BtfType; readonly length: number }
  | {
      readonly kind: 'struct' | 'union';
      readonly name: string;
      readonly size: number;
      readonly fields: readonly BtfField[];
    }
  | {
      readonly kind: 'enum';
      readonly name: string;
      readonly size: number;
      readonly values: readonly { readonly name: string; readonly value: number }[];
    }
  | { readonly kind: 'opaque' };

export interface BtfMap {
  readonly name: string;
  readonly type: number;
  readonly entriesMax: number;
  readonly flags: number;
  readonly key: BtfType | null;
  readonly value: BtfType | null;
}

export interface Btf {
  readonly types: readonly BtfType[];
  readonly maps: readonly BtfMap[];
  struct(name: string): Extract<BtfType, { kind: 'struct' | 'union' }> | null;
  enumeration(name: string): Extract<BtfType, { kind: 'enum' }> | null;
}

/** Size in bytes of a value of the type. */
export function sizeOf(type: BtfType): number {
  switch (type.kind) {
    case 'pointer':
      return 8;
    case 'array':
      return type.length * sizeOf(type.element);
    case 'opaque':
      return 0;
    default:
      return type.size;
  }
}

const kind = {
  integer: 1,
  pointer: 2,
  array: 3,
  struct: 4,
  union: 5,
  enum: 6,
  typedef: 8,
  volatile: 9,
  const: 10,
  restrict: 11,
  functionPrototype: 13,
  variable: 14,
  dataSection: 15,
  declarationTag: 17,
  typeTag: 18,
  enum64: 19,
} as const;

interface RawType {
  readonly name: string;
  readonly kind: number;
  readonly vlen: number;
  readonly flag: boolean;
  readonly sizeOrType: number;
  /** Offset of what follows the common part. */
  readonly at: number;
}

function extraBytes(kindNumber: number, vlen: number): number {
  switch (kindNumber) {
    case kind.integer:
    case kind.variable:
    case kind.declarationTag:
      return 4;
    case kind.array:
      return 12;
    case kind.struct:
    case kind.union:
    case kind.dataSection:
    case kind.enum64:
      return vlen * 12;
    case kind.enum:
    case kind.functionPrototype:
      return vlen * 8;
    default:
      return 0;
  }
}

function readRawTypes(data: DataView, typesFrom: number, typesTo: number, text: (offset: number) => string): RawType[] {
  const raw: RawType[] = [{ name: 'void', kind: 0, vlen: 0, flag: false, sizeOrType: 0, at: 0 }];
  for (let at = typesFrom; at < typesTo;) {
    const info = data.getUint32(at + 4, true);
    const vlen = info & 0xffff;
    const kindNumber = (info >>> 24) & 0x1f;
    raw.push({
      name: text(data.getUint32(at, true)),
      kind: kindNumber,
      vlen,
      flag: info >>> 31 === 1,
      sizeOrType: data.getUint32(at + 8, true),
      at: at + 12,
    });
    at += 12 + extraBytes(kindNumber, vlen);
  }
  return raw;
}

/** Parses the contents of a `.BTF` section, or what the kernel returns for a BTF object. */
export function parseBtf(bytes: Uint8Array): Btf {
  const data = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 24 || data.getUint16(0, true) !== 0xeb9f) throw new Error('This is no little-endian BTF.');
  const header = data.getUint32(4, true);
  const typesFrom = header + data.getUint32(8, true);
  const typesTo = typesFrom + data.getUint32(12, true);
  const textFrom = header + data.getUint32(16, true);
  const text = (offset: number): string => {
    const from = textFrom + offset;
    return Buffer.from(bytes.buffer, bytes.byteOffset + from, bytes.indexOf(0, from) - from).toString('utf8');
  };
  const raw = readRawTypes(data, typesFrom, typesTo, text);
  const resolve = resolver(data, raw, text);
  const types = raw.map((_, id) => resolve(id));
  const named = new Map<string, BtfType>();
  for (const type of types) {
    if ((type.kind === 'struct' || type.kind === 'union' || type.kind === 'enum') && type.name !== '')
      named.set(type.name, type);
  }
  return {
    types,
    maps: readMaps(data, raw, resolve),
    struct: (name) => {
      const found = named.get(name);
      return found?.kind === 'struct' || found?.kind === 'union' ? found : null;
    },
    enumeration: (name) => {
      const found = named.get(name);
      return found?.kind === 'enum' ? found : null;
    },
  };
}

function resolver(data: DataView, raw: readonly RawType[], text: (offset: number) => string): (id: number) => BtfType {
  const done = new Map<number, BtfType>();
  const build = (type: RawType, id: number): BtfType => {
    switch (type.kind) {
      case kind.integer: {
        const encoding = data.getUint32(type.at, true);
        return { kind: 'integer', name: type.name, size: type.sizeOrType, signed: (encoding >>> 24) % 2 === 1 };
      }
      case kind.pointer:
        return { kind: 'pointer', target: () => resolve(type.sizeOrType) };
      case kind.array:
        return {
          kind: 'array',
          element: resolve(data.getUint32(type.at, true)),
          length: data.getUint32(type.at + 8, true),
        };
      case kind.struct:
      case kind.union: {
        const fields: BtfField[] = [];
        const made: BtfType = {
          kind: type.kind === kind.struct ? 'struct' : 'union',
          name: type.name,
          size: type.sizeOrType,
          fields,
        };
        // Entered before its fields are read: a struct may hold a pointer to itself.
        done.set(id, made);
        for (let member = 0; member < type.vlen; member++) fields.push(readField(type, member));
        return made;
      }
      case kind.enum:
      case kind.enum64: {
        const step = type.kind === kind.enum ? 8 : 12;
        const values = Array.from({ length: type.vlen }, (_, index) => ({
          name: text(data.getUint32(type.at + index * step, true)),
          value: type.flag
            ? data.getInt32(type.at + index * step + 4, true)
            : data.getUint32(type.at + index * step + 4, true),
        }));
        return { kind: 'enum', name: type.name, size: type.sizeOrType, values };
      }
      case kind.typedef:
      case kind.volatile:
      case kind.const:
      case kind.restrict:
      case kind.typeTag:
        return resolve(type.sizeOrType);
      default:
        return { kind: 'opaque' };
    }
  };
  const readField = (type: RawType, member: number): BtfField => {
    const at = type.at + member * 12;
    const position = data.getUint32(at + 8, true);
    const bits = type.flag ? position >>> 24 : 0;
    const bitOffset = type.flag ? position & 0xffffff : position;
    return {
      name: text(data.getUint32(at, true)),
      type: resolve(data.getUint32(at + 4, true)),
      offset: bitOffset >>> 3,
      bits,
      bitOffset,
    };
  };
  const resolve = (id: number): BtfType => {
    const known = done.get(id);
    if (known !== undefined) return known;
    const type = raw[id];
    if (type === undefined) throw new Error(`BTF type ${id} does not exist.`);
    const built = build(type, id);
    done.set(id, built);
    return built;
  };
  return resolve;
}

/**
 * A map is a variable in the section `.maps`: a struct whose fields are pointers to arrays of the value's length (`__uint`) or
 * pointers to the type (`__type`).
 */
function readMaps(data: DataView, raw: readonly RawType[], resolve: (id: number) => BtfType): BtfMap[] {
  const maps: BtfMap[] = [];
  for (const section of raw) {
    if (section.kind !== kind.dataSection || section.name !== '.maps') continue;
    for (let index = 0; index < section.vlen; index++) {
      const variable = raw[data.getUint32(section.at + index * 12, true)];
      if (variable === undefined) continue;
      const declaration = resolve(variable.sizeOrType);
      if (declaration.kind !== 'struct') continue;
      const target = (name: string): BtfType | null => {
        const field = declaration.fields.find((candidate) => candidate.name === name);
        return field?.type.kind === 'pointer' ? field.type.target() : null;
      };
      const number = (name: string): number => {
        const type = target(name);
        return type?.kind === 'array' ? type.length : 0;
      };
      maps.push({
        name: variable.name,
        type: number('type'),
        entriesMax: number('max_entries'),
        flags: number('map_flags'),
        key: target('key'),
        value: target('value'),
      });
    }
  }
  return maps;
}
