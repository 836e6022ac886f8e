// Looking closer: buttons, keys, and dragging over a stretch. A click that does not drag is left to the picture.

const DRAGGED = 6;

// Puts three buttons before `host`; `centre` says around which moment they zoom.
function zoomButtons(host, stretch, centre, redraw, what) {
  const act = { '+': () => stretch.zoom(0.5, centre()), '−': () => stretch.zoom(2, centre()), all: () => stretch.all() };
  const said = { '+': `look closer at ${what}`, '−': `see more of ${what}`, all: `see all of ${what}` };
  const group = make('div', { class: 'zoom', role: 'group', 'aria-label': `Zoom of ${what}` });
  for (const [sign, work] of Object.entries(act)) {
    const button = make('button', { type: 'button', 'aria-label': said[sign] }, sign);
    button.addEventListener('click', () => {
      work();
      redraw();
    });
    group.append(button);
  }
  host.before(group);
}

// Whether the key was one of zooming.
function zoomKey(key, stretch, centre) {
  if (key === '+' || key === '=') stretch.zoom(0.5, centre);
  else if (key === '-' || key === '−') stretch.zoom(2, centre);
  else if (key === '0') stretch.all();
  else return false;
  return true;
}

function dragToZoom(host, stretch, plane, redraw, click) {
  let from = null;
  let mark = null;
  let hasDragged = false;
  const at = (event) => event.clientX - host.getBoundingClientRect().left;
  const end = () => {
    from = null;
    mark?.remove();
    mark = null;
  };
  host.addEventListener('pointerdown', (event) => {
    // A finger scrolls the page; it zooms with the buttons.
    if (event.button !== 0 || event.pointerType === 'touch') return;
    from = at(event);
    hasDragged = false;
  });
  host.addEventListener('pointermove', (event) => {
    if (from === null || Math.abs(at(event) - from) < DRAGGED) return;
    if (!mark) {
      host.setPointerCapture(event.pointerId);
      mark = draw('rect', { class: 'drag', y: plane().top, height: plane().high });
      host.querySelector('svg').append(mark);
    }
    mark.setAttribute('x', Math.min(from, at(event)));
    mark.setAttribute('width', Math.abs(at(event) - from));
  });
  host.addEventListener('pointerup', (event) => {
    const dragged = mark !== null;
    const [low, high] = [Math.min(from, at(event)), Math.max(from, at(event))];
    end();
    if (!dragged) return;
    hasDragged = true;
    stretch.show(plane().moment(low), plane().moment(high) + 1);
    redraw();
  });
  host.addEventListener('pointercancel', end);
  host.addEventListener('click', (event) => hasDragged || click(event));
  host.addEventListener('dblclick', () => {
    stretch.all();
    redraw();
  });
}
