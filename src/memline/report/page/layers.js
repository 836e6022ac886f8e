// What the area of the memory picture is made of: arguments and constants, results, the biggest temporaries one by one,
// and the rest. Each layer is {name, look, value, first, low, high}: its bytes' bounds from step `first` on.

const MOST_LAYERS = 40;
const TINTS = 7;

function memoryLayers(program, texts) {
  const { values, steps } = program;
  const kind = (i) => texts[values.kind[i]];
  const base = new Float64Array(steps.total.length);
  const layers = [
    sumLayer(program, base, 'arguments and constants', 'argument', (i) => kind(i) === 'argument' || kind(i) === 'constant'),
    sumLayer(program, base, 'results', 'output', (i) => kind(i) === 'output'),
  ];
  const temporaries = values.size.map((_, i) => i).filter((i) => kind(i) === 'temporary' && values.size[i] > 0);
  // What weighs and lasts is told first; among the told, what begins first lies lowest.
  const weight = (i) => values.size[i] * Math.sqrt(values.last[i] - values.first[i] + 1);
  const told = temporaries.sort((a, b) => weight(b) - weight(a)).slice(0, MOST_LAYERS);
  told.sort((a, b) => values.first[a] - values.first[b] || values.last[b] - values.last[a]);
  told.forEach((i, order) => layers.push(valueLayer(program, base, i, `tint${order % TINTS}`)));
  const rest = { name: 'smaller values and scratch', look: 'rest', value: null, first: 0, low: [], high: [] };
  steps.total.forEach((total, step) => {
    rest.low.push(Math.min(base[step], total));
    rest.high.push(total);
  });
  layers.push(rest);
  return layers.filter((layer) => layer.high.some((high, i) => high > layer.low[i]));
}

function sumLayer({ values, steps }, base, name, look, belongs) {
  const change = new Float64Array(steps.total.length + 1);
  values.size.forEach((size, i) => {
    if (!belongs(i)) return;
    change[values.first[i]] += size;
    change[values.last[i] + 1] -= size;
  });
  const layer = { name, look, value: null, first: 0, low: [], high: [] };
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
