// Bytes as text, by the rule of memline.units: two decimals, and the largest unit that keeps the figure at least 1.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

function formatBytes(bytes) {
  if (Math.abs(bytes) < 1024) return `${bytes} B`;
  // Integers, so that a figure here never differs in its last digit from the same figure in the text around it.
  const hundred = BigInt(Math.abs(bytes)) * 100n;
  let unit = 1n;
  let power = 0;
  let hundredths = hundred;
  while (hundredths >= 102400n && power < UNITS.length - 1) {
    power += 1;
    unit *= 1024n;
    hundredths = (2n * hundred + unit) / (2n * unit);
  }
  const decimals = String(hundredths % 100n).padStart(2, '0');
  return `${bytes < 0 ? '-' : ''}${hundredths / 100n}.${decimals} ${UNITS[power]}`;
}

// The text of a mark on an axis: marks are powers of two apart, so that they need few decimals.
function shortBytes(bytes) {
  return formatBytes(bytes).replace(/\.0+ /, ' ').replace(/(\.\d)0 /, '$1 ');
}

// Marks from 0 to `most`, about `wanted` of them, a power of two apart.
function byteMarks(most, wanted) {
  const apart = 2 ** Math.max(0, Math.ceil(Math.log2(Math.max(most, 1) / wanted)));
  const marks = [];
  for (let at = 0; at <= most; at += apart) marks.push(at);
  return marks;
}

function range(first, last) {
  return first === last ? `${first + 1}` : `${first + 1}–${last + 1}`;
}
