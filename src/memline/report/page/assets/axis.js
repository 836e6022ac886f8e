// The frame of a picture: time to the right, bytes upwards.

const LEFT = 66;
const RIGHT = 10;
const BOTTOM = 34;

// A stretch of time that is shown, never less than a few moments and never outside of [0, length].
class Stretch {
  constructor(length) {
    this.length = Math.max(1, length);
    this.all();
  }

  all() {
    this.from = 0;
    this.to = this.length;
  }

  show(from, to) {
    const least = Math.min(this.length, 4);
    const wide = Math.min(this.length, Math.max(to - from, least));
    const middle = (from + to) / 2;
    this.from = Math.min(Math.max(0, middle - wide / 2), this.length - wide);
    this.to = this.from + wide;
  }

  zoom(factor, around) {
    const share = (around - this.from) / (this.to - this.from);
    const wide = (this.to - this.from) * factor;
    const at = share < 0 || share > 1 ? 0.5 : share;
    this.show(around - at * wide, around + (1 - at) * wide);
  }

  reach(moment) {
    if (moment >= this.from && moment + 1 <= this.to) return;
    const half = (this.to - this.from) / 2;
    this.show(moment + 0.5 - half, moment + 0.5 + half);
  }
}

// Where things are drawn: `x` of a moment, `y` of bytes, and back.
class Plane {
  constructor(width, height, top, stretch, mostBytes) {
    Object.assign(this, { width, height, top, stretch, mostBytes: Math.max(1, mostBytes) });
    this.wide = Math.max(1, width - LEFT - RIGHT);
    this.high = Math.max(1, height - top - BOTTOM);
  }

  x(moment) {
    return LEFT + ((moment - this.stretch.from) / (this.stretch.to - this.stretch.from)) * this.wide;
  }

  y(bytes) {
    return this.top + this.high * (1 - bytes / this.mostBytes);
  }

  moment(x) {
    const at = this.stretch.from + ((x - LEFT) / this.wide) * (this.stretch.to - this.stretch.from);
    return Math.min(this.stretch.length - 1, Math.max(0, Math.floor(at)));
  }

  bytes(y) {
    return (1 - (y - this.top) / this.high) * this.mostBytes;
  }
}

// Lines and figures at the left, and the numbers of the moments below.
function drawAxes(plane, unit) {
  const group = draw('g', { class: 'axes' });
  for (const bytes of byteMarks(plane.mostBytes, 5)) {
    const y = plane.y(bytes);
    group.append(
      draw('line', { x1: LEFT, x2: plane.width - RIGHT, y1: y, y2: y }),
      draw('text', { x: LEFT - 7, y: y + 4, 'text-anchor': 'end' }, shortBytes(bytes)),
    );
  }
  const { from, to } = plane.stretch;
  const apart = roundStep((to - from) / Math.max(2, plane.wide / 90));
  for (let number = Math.ceil((from + 0.5) / apart) * apart || 1; number <= to; number += apart) {
    const x = plane.x(number - 0.5);
    // The last number would run out of the picture.
    const anchor = x > plane.width - 24 ? 'end' : 'middle';
    const at = Math.min(x, plane.width - 2);
    group.append(draw('text', { x: anchor === 'end' ? at : x, y: plane.height - BOTTOM + 16, 'text-anchor': anchor }, `${number}`));
  }
  const middle = { x: LEFT + plane.wide / 2, y: plane.height - 4, 'text-anchor': 'middle', class: 'unit' };
  group.append(draw('text', middle, unit));
  return group;
}

// 1, 2 or 5 times a power of ten.
function roundStep(least) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= least);
}

// A picture's outer element, whose contents are clipped to the plane by `clip`.
function drawFrame(plane, name) {
  const clip = draw('clipPath', { id: name });
  clip.append(draw('rect', { x: LEFT, y: plane.top, width: plane.wide, height: plane.high }));
  const frame = draw('svg', {
    width: plane.width,
    height: plane.height,
    viewBox: `0 0 ${plane.width} ${plane.height}`,
    'aria-hidden': 'true',
    focusable: 'false',
  });
  frame.append(draw('defs', {}, clip));
  return frame;
}
