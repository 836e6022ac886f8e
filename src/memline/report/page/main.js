// Puts the pieces together.

function setUpRun(program, number, { texts, limit }, mostBytes) {
  const table = new HeldTable(byId(`held-${number}`), valueCells(program, texts), (value) => {
    table.mark(value);
    if (!picture) return;
    picture.value = value;
    picture.renderSelection();
  });
  const host = document.querySelector(`[data-run="${number}"]`);
  const select = (step) => {
    const isPeak = step === program.peak;
    const what = `${program.name}: held at step ${step + 1} of ${program.steps.total.length}${isPeak ? ', the peak' : ''}`;
    table.show(isPeak ? program.atPeak : heldAt(program, step), what);
    table.mark(picture.value);
    const place = texts[program.steps.place[step]];
    const lines = [...picture.say(step).filter((line) => line !== place), ...picture.loops(step)];
    byId(`step-${number}`).replaceChildren(lines.join(' · '), ...placeNodes(place));
  };
  const picture = host && new MemoryPicture(host, program, { texts, limit, number, mostBytes, select });
  if (picture) select(program.peak);
  else table.show(program.atPeak);
  return picture;
}

function heldAt({ values }, step) {
  return values.size.map((_, i) => i).filter((i) => values.first[i] <= step && step <= values.last[i]);
}

function setUp() {
  const record = JSON.parse(byId('record').textContent);
  document.documentElement.classList.add('scripted');
  setUpTheme();
  const mostBytes = Math.max(1, ...record.programs.flatMap((program) => program.steps.total));
  const pictures = record.programs.map((program, i) => setUpRun(program, i, record, mostBytes)).filter((each) => each);
  record.programs.forEach((program, i) => {
    if (program.layout && program.layout.buffers.size.length) setUpMaps(program, i, record.texts);
  });
  const scale = byId('scale');
  scale.hidden = pictures.length < 2;
  scale.addEventListener('change', (event) => {
    for (const picture of pictures) {
      picture.isOwnScale = event.target.value === 'own';
      picture.render();
    }
  });
  for (const hint of document.querySelectorAll('[data-needs-script]')) hint.hidden = false;
}

setUp();
