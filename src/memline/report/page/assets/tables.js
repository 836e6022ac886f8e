// The tables of what is held: sorted by any column, filtered, and walked with the arrow keys.

const MOST_ROWS = 300;

// What each column of a table shows of an item (`text`), and what it is sorted by (`key`).
function valueCells({ values }, texts) {
  const word = (column) => ({ text: (i) => texts[values[column][i]] });
  return {
    name: { ...word('name'), key: (i) => i },
    type: word('type'),
    size: { text: (i) => formatBytes(values.size[i]), key: (i) => values.size[i], look: 'number' },
    kind: word('kind'),
    op: word('op'),
    place: { ...word('place'), look: 'place' },
    alive: { text: (i) => range(values.first[i], values.last[i]), key: (i) => values.first[i], look: 'number' },
  };
}

function bufferCells({ buffers }, texts) {
  const word = (column) => ({ text: (i) => texts[buffers[column][i]] });
  const bytes = (column) => ({
    text: (i) => (buffers[column][i] === null ? '–' : formatBytes(buffers[column][i])),
    key: (i) => buffers[column][i] ?? -1,
    look: 'number',
  });
  return {
    name: word('name'),
    size: bytes('size'),
    op: word('op'),
    place: { ...word('place'), look: 'place' },
    alive: { text: (i) => range(buffers.first[i], buffers.last[i]), key: (i) => buffers.first[i], look: 'number' },
    offset: bytes('offset'),
    packed: bytes('packed'),
  };
}

class HeldTable {
  // `pick` is called with an item's number, or null for none.
  constructor(table, cells, pick) {
    Object.assign(this, { table, cells, pick, items: [], wanted: '', sorted: 'size', isDown: true, picked: null });
    // The class of the colour that an item has in the picture; none where there is no picture.
    this.look = () => '';
    this.body = table.tBodies[0];
    this.more = table.closest('.held').querySelector('.more');
    this.columns = [...table.tHead.rows[0].cells].map((head) => head.dataset.column);
    for (const head of table.tHead.rows[0].cells) this.makeSortable(head);
    this.addFilter();
    this.body.addEventListener('keydown', (event) => this.key(event));
    this.body.addEventListener('click', (event) => {
      const row = event.target.closest('tr[data-item]');
      // Selecting text to copy it is no choice of a row.
      if (!row || getSelection().toString()) return;
      const item = Number(row.dataset.item);
      this.pick(item === this.picked ? null : item);
    });
  }

  show(items, caption) {
    this.items = items;
    if (caption) {
      this.table.caption.textContent = caption;
      this.table.closest('.scroll').setAttribute('aria-label', caption);
    }
    this.render();
  }

  mark(item) {
    this.picked = item;
    for (const row of this.body.rows) {
      const isPicked = Number(row.dataset.item) === item;
      row.classList.toggle('picked', isPicked);
      row.querySelector('button')?.setAttribute('aria-pressed', isPicked);
      if (isPicked) row.scrollIntoView({ block: 'nearest' });
    }
  }

  makeSortable(head) {
    const button = make('button', { type: 'button' }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener('click', () => {
      const { column } = head.dataset;
      // Sizes are looked at from the biggest, names from the first.
      this.isDown = this.sorted === column ? !this.isDown : column === 'size';
      this.sorted = column;
      this.render();
    });
  }

  addFilter() {
    const id = `${this.table.id}-filter`;
    const input = make('input', { type: 'search', id, placeholder: 'name, type, op or line', autocomplete: 'off' });
    const label = make('label', { for: id }, 'Filter ');
    const count = make('span', { class: 'count', role: 'status' });
    this.count = count;
    input.addEventListener('input', () => {
      this.wanted = input.value.trim().toLowerCase();
      this.render();
    });
    this.table.closest('.scroll').before(make('p', { class: 'filter' }, label, input, count));
  }

  // The items that are wanted, in the order that is wanted.
  chosen() {
    const { cells, wanted, sorted } = this;
    const has = (item) => this.columns.some((column) => cells[column].text(item).toLowerCase().includes(wanted));
    const items = wanted ? this.items.filter(has) : [...this.items];
    const { text, key } = cells[sorted];
    const sign = this.isDown ? -1 : 1;
    if (key) items.sort((a, b) => sign * (key(a) - key(b)));
    else items.sort((a, b) => sign * text(a).localeCompare(text(b), 'en', { numeric: true }));
    return items;
  }

  render() {
    for (const head of this.table.tHead.rows[0].cells) {
      if (head.dataset.column === this.sorted) head.setAttribute('aria-sort', this.isDown ? 'descending' : 'ascending');
      else head.removeAttribute('aria-sort');
    }
    const items = this.chosen();
    this.body.replaceChildren(...items.slice(0, MOST_ROWS).map((item, i) => this.row(item, i === 0)));
    const hidden = items.length - MOST_ROWS;
    this.more.textContent = hidden > 0 ? `The first ${MOST_ROWS} of ${items.length} in this order; the filter finds the others.` : '';
    this.count.textContent = this.wanted ? ` ${items.length} of ${this.items.length}` : '';
    this.mark(this.picked);
  }

  row(item, isFirst) {
    const row = make('tr', { 'data-item': item });
    this.columns.forEach((column, i) => {
      const { text, look } = this.cells[column];
      if (i > 0) {
        row.append(make('td', { class: look }, column === 'type' ? make('code', {}, text(item)) : text(item)));
        return;
      }
      // One stop of the Tab key for the whole table; the arrow keys go on from there.
      const button = make('button', { type: 'button', 'aria-pressed': 'false', tabindex: isFirst ? 0 : -1 });
      button.append(make('code', {}, text(item) || '(no name)'));
      const swatch = make('span', { class: `swatch ${this.look(item)}`, 'aria-hidden': 'true' });
      row.append(make('th', { scope: 'row' }, swatch, button));
    });
    return row;
  }

  key(event) {
    const rows = [...this.body.rows];
    const at = rows.indexOf(event.target.closest('tr'));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
    if (to === undefined || !rows[to]) return;
    event.preventDefault();
    for (const row of rows) row.querySelector('button').tabIndex = -1;
    const button = rows[to].querySelector('button');
    button.tabIndex = 0;
    button.focus();
  }
}
