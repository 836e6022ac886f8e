// Puts the pieces together.

function setUpRun(program, number, { texts, whole, limit }, mostBytes, by) {
  const table = new HeldTable(byId(`held-${number}`), valueCells(program, texts), (value) => {
    table.mark(value);
    if (!picture) return;
    picture.value = value;
    picture.renderSelection();
  });
  const select = (step) => {
    const isPeak = step === program.peak;
    const what = `${program.name}: held at step ${step + 1} of ${program.steps.total.length}${isPeak ? ', the peak' : ''}`;
    table.look = (value) => picture.look(value);
    table.show(isPeak ? program.atPeak : heldAt(program, step), what);
    table.mark(picture.value);
    const place = texts[program.steps.place[step]];
    const lines = [...picture.say(step).filter((line) => line !== place), ...picture.loops(step)];
    byId(`step-${number}`).replaceChildren(lines.join(' · '), ...placeNodes(place, whole[program.steps.place[step]]));
    byId(`legend-${number}`).replaceChildren(...picture.legend());
  };
  const host = document.querySelector(`[data-run="${number}"]`);
  const picture = host && new MemoryPicture(host, program, { texts, limit, number, mostBytes, by, select });
  if (picture) select(program.peak);
  else table.show(program.atPeak);
  return picture;
}

function heldAt({ values }, step) {
  return values.size.map((_, i) => i).filter((i) => values.first[i] <= step && step <= values.last[i]);
}

function setUpSwitch(id, isOfUse, change) {
  const field = byId(id);
  field.hidden = !isOfUse;
  field.addEventListener('change', (event) => change(event.target.value));
}

function setUp() {
  const record = JSON.parse(byId('record').textContent);
  document.documentElement.classList.add('scripted');
  setUpTheme();
  const mostBytes = Math.max(1, ...record.programs.flatMap((program) => program.steps.total));
  const by = record.programs.some((program) => isOfManyValues(program, record.texts)) ? 'line' : 'value';
  const pictures = record.programs.map((program, i) => setUpRun(program, i, record, mostBytes, by)).filter((each) => each);
  record.programs.forEach((program, i) => {
    if (program.layout && program.layout.buffers.size.length) setUpMaps(program, i, record);
  });
  const forAll = (work) => (value) => {
    for (const picture of pictures) {
      work(picture, value);
      picture.render();
    }
  };
  setUpSwitch('scale', pictures.length > 1, forAll((picture, value) => {
    picture.isOwnScale = value === 'own';
  }));
  setUpSwitch('by', pictures.length > 0, forAll((picture, value) => {
    picture.colour(value);
    picture.select(picture.step);
  }));
  document.querySelector(`[name="by"][value="${by}"]`).checked = true;
  for (const hint of document.querySelectorAll('[data-needs-script]')) hint.hidden = false;
}

setUp();
