// Elements. Text goes in as text nodes only: no name in a user's program is ever read as markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function byId(id) {
  return document.getElementById(id);
}

// Copies text, and says so on the button. Where the browser has no clipboard for files, the text is selected instead.
function copyButton(text) {
  const button = make('button', { type: 'button', class: 'copy' }, 'copy');
  button.setAttribute('aria-label', `copy ${text}`);
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = 'copied';
    } catch {
      const shown = button.previousElementSibling;
      if (shown) getSelection().selectAllChildren(shown);
      button.textContent = 'selected';
    }
  });
  return button;
}

// A place, and what people paste of it into an editor.
function placeNodes(place, whole) {
  if (!place) return [];
  return [' · ', make('code', { class: 'place', title: whole }, place), ' ', copyButton(whole)];
}
