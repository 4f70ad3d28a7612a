/**
 * The layout of an object's maps as one text, and its hash: two objects with one hash may share pinned maps, and codecs generated from
 * one fit the other. Pure.
 */
import { createHash } from 'node:crypto';
import { sizeOf, type Btf, type BtfType } from './btf.ts';

function describe(type: BtfType | null): string {
  if (type === null) return '-';
  switch (type.kind) {
    case 'integer':
      return `${type.signed ? 'i' : 'u'}${type.size * 8}`;
    case 'array':
      return `${describe(type.element)}[${type.length}]`;
    case 'enum':
      return `enum${type.size * 8}`;
    case 'pointer':
      return 'pointer';
    case 'opaque':
      return 'opaque';
    case 'struct':
    case 'union':
      return `${type.kind}{${type.fields.map((field) => `${field.name}@${field.bitOffset}${field.bits > 0 ? `:${field.bits}` : ''} ${describe(field.type)}`).join('; ')}} ${type.size}`;
  }
}

/** Ring buffers hold no entries that a later program would read: their values do not count, their size does. */
export function layoutText(btf: Btf): string {
  return btf.maps
    .map((map) => {
      const sizes = `${map.key === null ? 0 : sizeOf(map.key)}/${map.value === null ? 0 : sizeOf(map.value)}`;
      return `${map.name}: type ${map.type}, flags ${map.flags}, ${map.entriesMax} entries, ${sizes}, ${describe(map.key)} -> ${describe(map.value)}`;
    })
    .sort()
    .join('\n');
}

/** Sixteen hexadecimal digits: names a directory of pins. */
export function layoutHash(btf: Btf): string {
  return createHash('sha256').update(layoutText(btf)).digest('hex').slice(0, 16);
}
