/**
 * Carries entries from the maps of one layout into those of another, by the names of fields in both BTFs: a field that is new is zero,
 * one that is gone is dropped. A map whose keys do not have the same fields is not carried over.
 */
import { sizeOf, type BtfType } from './btf.ts';

/** Copies one value; false where a number does not fit the narrower field. The target is zeroed before. */
export type Copy = (from: DataView, fromAt: number, to: DataView, toAt: number) => boolean;

function copyInteger(fromSize: number, toSize: number): Copy {
  return (from, fromAt, to, toAt) => {
    for (let index = 0; index < fromSize; index++) {
      const byte = from.getUint8(fromAt + index);
      if (index < toSize) to.setUint8(toAt + index, byte);
      else if (byte !== 0) return false;
    }
    return true;
  };
}

function isNumber(type: BtfType): boolean {
  return type.kind === 'integer' || type.kind === 'enum';
}

/** The copy between two types, or null where they have nothing in common. */
export function copyBetween(from: BtfType, to: BtfType): Copy | null {
  if (isNumber(from) && isNumber(to)) return copyInteger(sizeOf(from), sizeOf(to));
  if (from.kind === 'array' && to.kind === 'array') {
    const element = copyBetween(from.element, to.element);
    const length = Math.min(from.length, to.length);
    const fromSize = sizeOf(from.element);
    const toSize = sizeOf(to.element);
    if (element === null) return null;
    return (source, sourceAt, target, targetAt) => {
      for (let index = 0; index < length; index++) {
        if (!element(source, sourceAt + index * fromSize, target, targetAt + index * toSize)) return false;
      }
      return true;
    };
  }
  if (from.kind === 'struct' && to.kind === 'struct') {
    const copies = to.fields.flatMap((field) => {
      const old = from.fields.find((candidate) => candidate.name === field.name);
      const copy = old === undefined || old.bits !== 0 || field.bits !== 0 ? null : copyBetween(old.type, field.type);
      return copy === null ? [] : [{ copy, from: old!.offset, to: field.offset }];
    });
    return (source, sourceAt, target, targetAt) =>
      copies.every((part) => part.copy(source, sourceAt + part.from, target, targetAt + part.to));
  }
  return null;
}

function sameFields(from: BtfType, to: BtfType): boolean {
  if (from.kind !== 'struct' || to.kind !== 'struct') return from.kind === to.kind;
  const names = (type: typeof from): string =>
    type.fields
      .map((field) => field.name)
      .filter((name) => !name.startsWith('padding'))
      .sort()
      .join();
  return names(from) === names(to);
}

/** The typed end of a migration: a map with the types that the kernel keeps for it. */
export interface TypedTable {
  readonly key: BtfType;
  readonly value: BtfType;
  readonly table: MigratedTable;
}
/** The part of `Table` that a migration needs. */
export interface MigratedTable {
  readonly key: Buffer;
  readonly value: Buffer;
  readonly keyView: DataView;
  readonly valueView: DataView;
  walk(visit: (keys: DataView, keyAt: number, values: DataView, valueAt: number) => void): void;
  update(): 'done' | 'full';
  insert(): 'done' | 'full' | 'exists';
}

export interface Migrated {
  readonly copied: number;
  readonly dropped: number;
}

/** Copies every entry; with `onlyNew` those that the target has already stay as they are. */
export function migrateTable(from: TypedTable, to: TypedTable, onlyNew: boolean): Migrated {
  const copyKey = sameFields(from.key, to.key) ? copyBetween(from.key, to.key) : null;
  const copyValue = copyBetween(from.value, to.value);
  let copied = 0;
  let dropped = 0;
  if (copyKey === null || copyValue === null) return { copied, dropped };
  from.table.walk((keys, keyAt, values, valueAt) => {
    to.table.key.fill(0);
    to.table.value.fill(0);
    const fits = copyKey(keys, keyAt, to.table.keyView, 0) && copyValue(values, valueAt, to.table.valueView, 0);
    const result = !fits ? 'full' : onlyNew ? to.table.insert() : to.table.update();
    if (result === 'done') copied++;
    else if (result === 'full') dropped++;
  });
  return { copied, dropped };
}
