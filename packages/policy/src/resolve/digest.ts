/**
 * 64 bits of FNV-1a over the text's UTF-16 units, as hexadecimal. It tells one text from another in tables and caches; it protects
 * nothing against somebody who makes texts to collide.
 */
export function textDigest(text: string): string {
  let high = 0xcbf29ce4;
  let low = 0x84222325;
  for (let index = 0; index < text.length; index++) {
    low ^= text.charCodeAt(index);
    // The prime is 2^40 + 0x1b3: the 64-bit product from 32-bit pieces.
    const product = (low >>> 0) * 0x1b3;
    high = (Math.imul(high, 0x1b3) + Math.floor(product / 2 ** 32) + (low << 8)) | 0;
    low = product | 0;
  }
  return hexadecimal(high) + hexadecimal(low);
}

function hexadecimal(word: number): string {
  return (word >>> 0).toString(16).padStart(8, '0');
}
