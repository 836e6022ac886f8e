// The address map: offset against time, every buffer a rectangle.

class AddressMap {
  // `by` is the column of the offsets, "offset" or "packed"; `shared` is what all maps of one program have in common.
  constructor(host, layout, by, shared) {
    Object.assign(this, { host, layout, by, shared });
    const { buffers } = layout;
    this.told = buffers.size.map((_, i) => i).filter((i) => buffers[by][i] !== null);
    const order = (a, b) => buffers.first[a] - buffers.first[b] || buffers[by][a] - buffers[by][b];
    this.inTime = [...this.told].sort(order);
    const what = by === 'packed' ? 'packed' : 'as XLA places them';
    fill(host, {
      tabindex: 0,
      role: 'slider',
      'aria-label': `Buffers of the program ${shared.name}, ${what}`,
      'aria-valuemin': 1,
      'aria-valuemax': Math.max(1, this.inTime.length),
      'aria-valuenow': 1,
      'aria-valuetext': 'no buffer is picked',
    }, []);
    const centre = () => (shared.picked === null ? layout.worst : buffers.first[shared.picked]) + 0.5;
    zoomButtons(host, shared.stretch, centre, shared.redraw, `the map ${shared.name}, ${what}`);
    dragToZoom(host, shared.stretch, () => this.plane, shared.redraw, (event) => {
      const number = event.target.dataset?.buffer;
      shared.pick(number === undefined ? null : Number(number));
    });
    host.addEventListener('pointermove', (event) => this.point(event));
    host.addEventListener('pointerleave', () => tip.hide());
    host.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => this.render()).observe(host);
  }

  render() {
    const width = this.host.clientWidth;
    if (!width) return;
    const { layout, shared } = this;
    const most = Math.max(layout.temp, layout.packed ?? 0, 1);
    const plane = new Plane(width, 320, 14, shared.stretch, 1.04 * most);
    this.plane = plane;
    const name = `clip-map-${shared.number}-${this.by}`;
    const frame = drawFrame(plane, name);
    const inside = draw('g', { 'clip-path': `url(#${name})` });
    for (const i of this.told) inside.append(...this.rectangle(i));
    const worst = plane.x(layout.worst + 0.5);
    const taken = this.by === 'packed' ? layout.packed : layout.temp;
    inside.append(draw('line', { x1: worst, x2: worst, y1: plane.top, y2: plane.y(0), class: 'worst' }));
    this.over = draw('g', { 'clip-path': `url(#${name})` });
    const line = (bytes, look) => {
      const y = plane.y(bytes);
      return draw('line', { x1: LEFT, x2: plane.width - RIGHT, y1: y, y2: y, class: look, 'data-bytes': bytes });
    };
    frame.append(drawAxes(plane, 'moment of the schedule'), inside, line(layout.load, 'load'), line(taken, 'taken'), this.over);
    this.host.replaceChildren(frame);
    this.renderPicked();
  }

  rectangle(i) {
    const { plane, layout, by, shared } = this;
    const { first, last, size, name } = layout.buffers;
    const x = plane.x(first[i]);
    const width = plane.x(last[i] + 1) - x;
    const y = plane.y(layout.buffers[by][i] + size[i]);
    const height = plane.y(layout.buffers[by][i]) - y;
    const parts = [draw('rect', { x, y, width, height, class: `buffer tint${i % TINTS}`, 'data-buffer': i })];
    const text = shared.texts[name[i]];
    const [from, to] = [Math.max(x, LEFT), Math.min(x + width, plane.width - RIGHT)];
    if (height > 13 && to - from > 6.4 * text.length + 6) {
      parts.push(draw('text', { x: from + 4, y: y + Math.min(height / 2 + 4, 14), class: 'label' }, text));
    }
    return parts;
  }

  renderPicked() {
    const { picked } = this.shared;
    if (!this.plane) return;
    this.over.replaceChildren();
    if (picked === null || this.layout.buffers[this.by][picked] === null) return;
    const outlined = this.rectangle(picked)[0];
    outlined.setAttribute('class', 'picked');
    outlined.removeAttribute('data-buffer');
    outlined.setAttribute('data-picked', picked);
    this.over.append(outlined);
    const said = this.shared.say(picked).join(', ');
    fill(this.host, { 'aria-valuenow': this.inTime.indexOf(picked) + 1, 'aria-valuetext': said }, []);
  }

  point(event) {
    const number = event.target.dataset?.buffer;
    if (number === undefined) tip.hide();
    else tip.show(event, this.shared.say(Number(number)));
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { shared, layout } = this;
    const at = shared.picked === null ? -1 : this.inTime.indexOf(shared.picked);
    const to = {
      ArrowLeft: () => this.inTime[Math.max(0, at - 1)],
      ArrowRight: () => this.inTime[Math.min(this.inTime.length - 1, at + 1)],
      ArrowUp: () => this.neighbour(1),
      ArrowDown: () => this.neighbour(-1),
      Home: () => this.inTime[0],
      End: () => this.inTime[this.inTime.length - 1],
      Escape: () => null,
    }[event.key];
    if (to) shared.pick(to() ?? null);
    else if (zoomKey(event.key, shared.stretch, (at < 0 ? layout.worst : layout.buffers.first[shared.picked]) + 0.5)) {
      shared.redraw();
    } else return;
    event.preventDefault();
  }

  // The next buffer above or below the picked one, of those that are alive with it.
  neighbour(sign) {
    const { picked } = this.shared;
    if (picked === null) return this.inTime[0];
    const { first, last } = this.layout.buffers;
    const offset = this.layout.buffers[this.by];
    const beyond = this.told.filter(
      (i) => first[i] <= last[picked] && first[picked] <= last[i] && sign * (offset[i] - offset[picked]) > 0,
    );
    return beyond.sort((a, b) => sign * (offset[a] - offset[b]))[0] ?? picked;
  }
}

// The maps of one program, which show one stretch of time and one picked buffer.
function setUpMaps(program, number, { texts, whole }) {
  const { layout } = program;
  const maps = [];
  const { buffers } = layout;
  const details = byId(`buffer-${number}`);
  const shared = {
    name: program.name,
    number,
    texts,
    picked: null,
    stretch: new Stretch(layout.moments),
    redraw: () => maps.forEach((map) => map.render()),
    say: (i) => [
      `${texts[buffers.name[i]]}: ${formatBytes(buffers.size[i])}`,
      texts[buffers.op[i]] && `made by ${texts[buffers.op[i]]}`,
      texts[buffers.place[i]],
      `moments ${range(buffers.first[i], buffers.last[i])}, at offset ${formatBytes(buffers.offset[i])}${
        buffers.packed[i] === null ? '' : `, packed at ${formatBytes(buffers.packed[i])}`}`,
    ].filter((line) => line),
    pick(i) {
      shared.picked = i;
      if (i !== null && !(buffers.first[i] < shared.stretch.to && buffers.last[i] + 1 > shared.stretch.from)) {
        shared.stretch.reach(buffers.first[i]);
        shared.redraw();
      } else maps.forEach((map) => map.renderPicked());
      table.mark(i);
      details.replaceChildren();
      if (i === null) return;
      const place = texts[buffers.place[i]];
      const lines = shared.say(i).filter((line) => line !== place);
      details.append(lines.join(' · '), ...placeNodes(place, whole[buffers.place[i]]));
    },
  };
  const table = new HeldTable(byId(`placed-${number}`), bufferCells(layout, texts), shared.pick);
  const alive = buffers.size.map((_, i) => i).filter((i) => buffers.first[i] <= layout.worst && layout.worst <= buffers.last[i]);
  table.look = (i) => `tint${i % TINTS}`;
  table.show(alive.sort((a, b) => buffers.size[b] - buffers.size[a]));
  document.querySelectorAll(`[data-map="${number}"]`).forEach((host) => {
    maps.push(new AddressMap(host, layout, host.dataset.by, shared));
  });
}
