// What the area of the memory picture is made of: arguments and constants, results, the biggest temporaries, and the rest.
// Each layer is {name, look, value, place, first, low, high}: its bytes' bounds from step `first` on.

const MOST_LAYERS = 40;
const MOST_LINES = 13;
const TINTS = 7;

// `by` is "value" or "line": whether temporaries are told one by one, or those of one source line together.
function memoryLayers(program, texts, by) {
  const { values, steps } = program;
  const kind = (i) => texts[values.kind[i]];
  const numbers = values.size.map((_, i) => i);
  const base = new Float64Array(steps.total.length);
  const fixed = numbers.filter((i) => kind(i) === 'argument' || kind(i) === 'constant');
  const layers = [
    sumLayer(program, base, { name: 'arguments and constants', look: 'argument' }, fixed),
    sumLayer(program, base, { name: 'results', look: 'output' }, numbers.filter((i) => kind(i) === 'output')),
  ];
  const temporaries = numbers.filter((i) => kind(i) === 'temporary' && values.size[i] > 0);
  const told = by === 'line' ? ofLines(program, temporaries) : ofValues(program, temporaries);
  told.forEach((group, order) => {
    const look = `tint${order % TINTS}`;
    const place = texts[values.place[group[0]]];
    layers.push(
      by === 'line'
        ? sumLayer(program, base, { name: place || 'no line is known', look, place }, group)
        : valueLayer(program, base, group[0], look),
    );
  });
  const name = by === 'line' ? 'other lines and scratch' : 'smaller values and scratch';
  const rest = { name, look: 'rest', value: null, first: 0, low: [], high: [] };
  steps.total.forEach((total, step) => {
    rest.low.push(Math.min(base[step], total));
    rest.high.push(total);
  });
  layers.push(rest);
  return layers.filter((layer) => layer.high.some((high, i) => high > layer.low[i]));
}

// What weighs and lasts is told; among the told, what begins first lies lowest.
function ofValues({ values }, temporaries) {
  const weight = (i) => values.size[i] * Math.sqrt(values.last[i] - values.first[i] + 1);
  const told = [...temporaries].sort((a, b) => weight(b) - weight(a)).slice(0, MOST_LAYERS);
  return told.sort((a, b) => values.first[a] - values.first[b] || values.last[b] - values.last[a]).map((i) => [i]);
}

// The lines that hold most at the peak, the most of all lowest.
function ofLines({ values, peak }, temporaries) {
  const groups = new Map();
  for (const i of temporaries) {
    const group = groups.get(values.place[i]) ?? [];
    group.push(i);
    groups.set(values.place[i], group);
  }
  const isThere = (i) => values.first[i] <= peak && peak <= values.last[i];
  const held = (group) => group.reduce((sum, i) => sum + (isThere(i) ? values.size[i] : 0), 0);
  const told = [...groups.values()].map((group) => ({ group, bytes: held(group) }));
  return told.sort((a, b) => b.bytes - a.bytes).slice(0, MOST_LINES).map(({ group }) => group);
}

// Whether single values say little: the biggest of a long program may be a small part of what it holds.
function isOfManyValues(program, texts) {
  const { values, atPeak } = program;
  const sizes = atPeak.filter((i) => texts[values.kind[i]] === 'temporary').map((i) => values.size[i]);
  const sum = (list) => list.reduce((all, size) => all + size, 0);
  return 2 * sum(sizes.slice(0, MOST_LAYERS)) < sum(sizes);
}

function sumLayer({ values, steps }, base, told, members) {
  const change = new Float64Array(steps.total.length + 1);
  for (const i of members) {
    change[values.first[i]] += values.size[i];
    change[values.last[i] + 1] -= values.size[i];
  }
  const layer = { ...told, value: null, first: 0, low: [], high: [] };
  let sum = 0;
  steps.total.forEach((total, step) => {
    sum += change[step];
    push(layer, base, step, sum, total);
  });
  return layer;
}

function valueLayer({ values, steps }, base, value, look) {
  const layer = { name: null, look, value, first: values.first[value], low: [], high: [] };
  for (let step = layer.first; step <= values.last[value]; step += 1) {
    push(layer, base, step, values.size[value], steps.total[step]);
  }
  return layer;
}

// One value may be written over another, so that parts add up to more than the whole: the whole is what is held.
function push(layer, base, step, size, total) {
  layer.low.push(Math.min(base[step], total));
  base[step] += size;
  layer.high.push(Math.min(base[step], total));
}

// The layer's outline: along its upper side and back along its lower one, with a corner only where it changes.
function outline(layer, plane) {
  const side = (bytes, forward) => {
    const points = [];
    const order = forward ? bytes.keys() : [...bytes.keys()].reverse();
    let before = null;
    for (const i of order) {
      const start = plane.x(layer.first + i + (forward ? 0 : 1)).toFixed(1);
      const y = plane.y(bytes[i]).toFixed(1);
      if (y !== before) points.push(before === null ? `${start},${y}` : `H${start}V${y}`);
      before = y;
    }
    const end = plane.x(layer.first + (forward ? bytes.length : 0)).toFixed(1);
    return `${points.join('')}H${end}`;
  };
  return `M${side(layer.high, true)}L${side(layer.low, false)}Z`;
}

function topLine(total, plane) {
  let path = '';
  let before = null;
  total.forEach((bytes, step) => {
    const y = plane.y(bytes).toFixed(1);
    if (y === before) return;
    path += before === null ? `M${plane.x(0).toFixed(1)},${y}` : `H${plane.x(step).toFixed(1)}V${y}`;
    before = y;
  });
  return `${path}H${plane.x(total.length).toFixed(1)}`;
}
