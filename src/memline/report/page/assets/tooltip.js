// The box beside the pointer. Those who do not point read the same in the live lines under the pictures.

const tip = {
  show(event, lines) {
    const box = byId('tip');
    box.replaceChildren(...lines.filter((line) => line).map((line) => make('div', {}, line)));
    box.hidden = false;
    const { width, height } = box.getBoundingClientRect();
    const gap = 14;
    const right = event.clientX + gap + width > innerWidth ? event.clientX - gap - width : event.clientX + gap;
    const down = event.clientY + gap + height > innerHeight ? event.clientY - gap - height : event.clientY + gap;
    box.style.left = `${Math.max(4, right)}px`;
    box.style.top = `${Math.max(4, down)}px`;
  },
  hide() {
    byId('tip').hidden = true;
  },
};
