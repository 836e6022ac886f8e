// Light, dark, or as the system has it. The choice is not kept: a file from a disk has no place to keep it.

function setUpTheme() {
  const field = byId('theme');
  field.hidden = false;
  field.addEventListener('change', (event) => {
    const theme = event.target.value;
    if (theme === 'auto') document.documentElement.removeAttribute('data-theme');
    else document.documentElement.setAttribute('data-theme', theme);
  });
}
