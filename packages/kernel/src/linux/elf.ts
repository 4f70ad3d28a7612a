/** Finds one section of a 64-bit little-endian ELF file, as clang writes eBPF objects. Pure. */
export function elfSection(file: Uint8Array, wanted: string): Uint8Array | null {
  const data = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const elf64LittleEndian = 0x0102;
  if (file.length < 64 || data.getUint32(0, false) !== 0x7f454c46 || data.getUint16(4, true) !== elf64LittleEndian) {
    throw new Error('This is no 64-bit little-endian ELF file.');
  }
  const headersAt = Number(data.getBigUint64(0x28, true));
  const headerBytes = data.getUint16(0x3a, true);
  const count = data.getUint16(0x3c, true);
  const header = (index: number): { readonly name: number; readonly from: number; readonly length: number } => {
    const at = headersAt + index * headerBytes;
    return {
      name: data.getUint32(at, true),
      from: Number(data.getBigUint64(at + 0x18, true)),
      length: Number(data.getBigUint64(at + 0x20, true)),
    };
  };
  const names = header(data.getUint16(0x3e, true));
  for (let index = 0; index < count; index++) {
    const section = header(index);
    const nameFrom = names.from + section.name;
    const name = Buffer.from(file.subarray(nameFrom, file.indexOf(0, nameFrom))).toString('latin1');
    if (name === wanted) return file.subarray(section.from, section.from + section.length);
  }
  return null;
}
