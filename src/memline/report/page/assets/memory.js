// Memory over the run: an area of what is held, the limit as a line, the peak marked, loops as bands above.

const BAND = 16;
const MOST_DEPTHS = 4;

class MemoryPicture {
  // `select` is called with a step when the user picks one.
  constructor(host, program, { texts, limit, number, mostBytes, by, select }) {
    Object.assign(this, { host, program, texts, limit, number, sharedMost: mostBytes, select });
    this.isOwnScale = false;
    this.length = program.steps.total.length;
    this.stretch = new Stretch(this.length);
    this.step = program.peak;
    this.value = null;
    this.colour(by);
    this.depths = Math.min(MOST_DEPTHS, Math.max(-1, ...program.bands.map((band) => band.depth)) + 1);
    fill(host, {
      tabindex: 0,
      role: 'slider',
      'aria-label': `Steps of the program ${program.name}`,
      'aria-describedby': `run-told-${number}`,
      'aria-valuemin': 1,
      'aria-valuemax': this.length,
    }, []);
    zoomButtons(host, this.stretch, () => this.step + 0.5, () => this.render(), `the run ${program.name}`);
    dragToZoom(host, this.stretch, () => this.plane, () => this.render(), (event) => this.pick(event));
    host.addEventListener('pointermove', (event) => this.point(event));
    host.addEventListener('pointerleave', () => this.leave());
    host.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(host);
  }

  // Tells temporaries apart by "value" or by "line".
  colour(by) {
    this.layers = memoryLayers(this.program, this.texts, by);
  }

  // The class of the colour of the layer that a value is told in.
  look(value) {
    const { kind, place } = this.program.values;
    const shared = { argument: 'argument', constant: 'argument', output: 'output' }[this.texts[kind[value]]];
    const line = this.texts[place[value]];
    return shared ?? this.layers.find((layer) => layer.value === value || (layer.place && layer.place === line))?.look ?? 'rest';
  }

  get mostBytes() {
    const own = Math.max(1, ...this.program.steps.total);
    const most = this.isOwnScale ? own : this.sharedMost;
    // A limit far above the picture would flatten it; one in sight belongs into it.
    return 1.08 * (this.limit !== null && this.limit < 1.6 * most ? Math.max(most, this.limit) : most);
  }

  render() {
    const width = this.host.clientWidth;
    if (!width) return;
    const plane = new Plane(width, 320, 22 + this.depths * BAND, this.stretch, this.mostBytes);
    this.plane = plane;
    const name = `clip-run-${this.number}`;
    const frame = drawFrame(plane, name);
    const inside = draw('g', { 'clip-path': `url(#${name})` });
    for (const layer of this.layers) {
      inside.append(draw('path', { d: outline(layer, plane), class: `layer ${layer.look}`, 'data-value': layer.value }));
    }
    inside.append(draw('path', { d: topLine(this.program.steps.total, plane), class: 'top' }));
    frame.append(drawAxes(plane, this.program.steps.covers.some((n) => n > 1) ? 'step (several nodes each)' : 'step'));
    frame.append(this.bands(), inside, this.marks());
    this.over = draw('g', { 'clip-path': `url(#${name})` });
    frame.append(this.over);
    this.host.replaceChildren(frame);
    this.renderSelection();
  }

  bands() {
    const group = draw('g', { class: 'bands' });
    const { plane, program, texts } = this;
    program.bands.forEach((band, i) => {
      if (band.depth >= MOST_DEPTHS) return;
      const [from, to] = [Math.max(LEFT, plane.x(band.first)), Math.min(plane.width - RIGHT, plane.x(band.last + 1))];
      if (to <= from) return;
      const y = 20 + band.depth * BAND;
      const width = Math.max(1, to - from - 1);
      group.append(
        draw('rect', { x: from, y: plane.top, width, height: plane.high, class: 'inside' }),
        draw('rect', { x: from, y, width, height: BAND - 2, rx: 2, class: 'band', 'data-band': i }),
      );
      // Some 6.2 px a letter of this size; a name that does not fit would run over its neighbour.
      const letters = Math.floor((width - 6) / 6.2);
      const title = `${band.runs === null ? '' : `×${band.runs} `}${texts[band.title]}`;
      if (letters < 3) return;
      const shown = title.length > letters ? `${title.slice(0, letters - 1)}…` : title;
      group.append(draw('text', { x: from + 4, y: y + BAND - 6, 'data-band': i }, shown));
    });
    return group;
  }

  marks() {
    const { plane, program, limit } = this;
    const group = draw('g', { class: 'marks' });
    const right = plane.width - RIGHT;
    if (limit !== null && limit <= plane.mostBytes) {
      const y = plane.y(limit);
      const isHigh = y < plane.top + 16;
      group.append(
        draw('line', { x1: LEFT, x2: right, y1: y, y2: y, class: 'limit', 'data-bytes': limit }),
        ...haloed({ x: right - 4, y: isHigh ? y + 14 : y - 5, 'text-anchor': 'end', class: 'limit' }, `limit ${formatBytes(limit)}`),
      );
    } else if (limit !== null) {
      const text = `↑ the limit, ${formatBytes(limit)}, is above this picture`;
      group.append(...haloed({ x: right - 4, y: plane.top + 12, 'text-anchor': 'end', class: 'limit' }, text));
    }
    const x = plane.x(program.peak + 0.5);
    if (x < LEFT || x > right) return group;
    const bytes = program.steps.total[program.peak];
    const y = plane.y(bytes);
    const isRight = x > LEFT + plane.wide / 2;
    group.append(
      draw('circle', { cx: x, cy: y, r: 5, class: 'peak', 'data-step': program.peak }),
      ...haloed({ x: x + (isRight ? -9 : 9), y: Math.max(plane.top + 4, y - 6), 'text-anchor': isRight ? 'end' : 'start', class: 'peak' }, `peak ${formatBytes(bytes)}`),
    );
    return group;
  }

  // What changes at each move of the pointer or of a key: drawn anew alone, for the rest may be thousands of corners.
  renderSelection(hovered = null) {
    const { plane } = this;
    if (!plane) return;
    const line = (step, look) => {
      const wide = plane.x(step + 1) - plane.x(step);
      return draw('rect', { x: plane.x(step), width: Math.max(1.5, wide), y: plane.top, height: plane.high, class: look });
    };
    this.over.replaceChildren(line(this.step, 'selected'));
    if (hovered !== null) this.over.append(line(hovered, 'hovered'));
    if (this.value !== null) this.over.append(this.lifetime(this.value));
    const said = this.say(this.step);
    fill(this.host, { 'aria-valuenow': this.step + 1, 'aria-valuetext': said.join(', ') }, []);
  }

  // A picked value where its layer lies, or as a bar at the bottom where it has no layer of its own.
  lifetime(value) {
    const layer = this.layers.find((each) => each.value === value);
    if (layer) return draw('path', { d: outline(layer, this.plane), class: 'picked', 'data-picked': value });
    const { plane, program } = this;
    const { first, last, size } = program.values;
    const [x, to] = [plane.x(first[value]), plane.x(last[value] + 1)];
    const height = Math.max(3, plane.y(0) - plane.y(size[value]));
    return draw('rect', { x, width: Math.max(2, to - x), y: plane.y(0) - height, height, class: 'picked', 'data-picked': value });
  }

  say(step) {
    const { program, texts, limit } = this;
    const { total, op, place, covers } = program.steps;
    const several = covers[step] > 1 ? ` (the most of ${covers[step]} nodes)` : '';
    const over = limit !== null && total[step] > limit ? `, ${formatBytes(total[step] - limit)} over the limit` : '';
    return [
      `step ${step + 1} of ${this.length}: ${texts[op[step]]}${several}`,
      texts[place[step]],
      `${formatBytes(total[step])} held${over}`,
    ].filter((line) => line);
  }

  loops(step) {
    const inside = this.program.bands.filter((band) => band.first <= step && step <= band.last);
    return inside.sort((a, b) => a.depth - b.depth).map((band) => this.bandWords(band));
  }

  bandWords(band) {
    const place = this.texts[band.place];
    return `in ${this.texts[band.title]}${place ? `, ${place}` : ''}`;
  }

  layerWords(step, bytes) {
    const layer = this.layers.find(({ first, low, high }) => low[step - first] <= bytes && bytes < high[step - first]);
    if (!layer) return [];
    const size = bytesOf(layer, step);
    if (layer.value === null) return [`▸ ${layer.name}: ${formatBytes(size)}`];
    const { name, type, place } = this.program.values;
    const { size: sizes, op } = this.program.values;
    const made = [this.texts[op[layer.value]], this.texts[place[layer.value]]].filter((text) => text).join(', ');
    return [`▸ ${this.texts[name[layer.value]]} ${this.texts[type[layer.value]]}: ${formatBytes(sizes[layer.value])}`, made];
  }

  // What the colours mean that are no single values, with their bytes at the picked step.
  legend() {
    const told = this.layers.filter((layer) => layer.value === null && bytesOf(layer, this.step) > 0);
    told.sort((a, b) => bytesOf(b, this.step) - bytesOf(a, this.step));
    return told.map((layer) => {
      const swatch = make('span', { class: `swatch ${layer.look}`, 'aria-hidden': 'true' });
      return make('li', {}, swatch, ` ${layer.name}: ${formatBytes(bytesOf(layer, this.step))}`);
    });
  }

  point(event) {
    const box = this.host.getBoundingClientRect();
    const band = event.target.dataset?.band;
    if (band !== undefined) {
      const { title, place, runs } = this.program.bands[band];
      tip.show(event, [this.texts[title], this.texts[place], runs === null ? 'nobody knows before how often it runs' : `runs ${runs} times`]);
      return;
    }
    const step = this.plane.moment(event.clientX - box.left);
    this.renderSelection(step);
    const bytes = this.plane.bytes(event.clientY - box.top);
    tip.show(event, [...this.say(step), ...this.loops(step), ...this.layerWords(step, bytes)]);
  }

  leave() {
    tip.hide();
    this.renderSelection();
  }

  pick(event) {
    const box = this.host.getBoundingClientRect();
    const band = event.target.dataset?.band;
    if (band !== undefined) return;
    this.value = event.target.dataset?.value === undefined ? null : Number(event.target.dataset.value);
    this.go(this.plane.moment(event.clientX - box.left));
  }

  go(step) {
    this.step = Math.min(this.length - 1, Math.max(0, step));
    const { from } = this.stretch;
    this.stretch.reach(this.step);
    if (this.stretch.from !== from) this.render();
    else this.renderSelection();
    this.select(this.step);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.round((this.stretch.to - this.stretch.from) / 10));
    const to = {
      ArrowLeft: this.step - 1,
      ArrowDown: this.step - 1,
      ArrowRight: this.step + 1,
      ArrowUp: this.step + 1,
      PageDown: this.step - page,
      PageUp: this.step + page,
      Home: 0,
      End: this.length - 1,
      p: this.program.peak,
      P: this.program.peak,
      Escape: this.program.peak,
    }[event.key];
    if (to !== undefined) {
      if (event.key === 'Escape') this.value = null;
      this.go(to);
    } else if (zoomKey(event.key, this.stretch, this.step + 0.5)) this.render();
    else return;
    event.preventDefault();
  }
}

function bytesOf({ first, low, high }, step) {
  return (high[step - first] ?? 0) - (low[step - first] ?? 0);
}

// Text over an area of any colour: once as a thick outline of the page's colour, and once as itself.
function haloed(attributes, text) {
  return [
    draw('text', { ...attributes, class: `${attributes.class} halo` }, text),
    draw('text', attributes, text),
  ];
}
