'use strict';
// Sorting and filtering of the table of episodes. Without it the table is there as well, in the order of the log.
const table = document.querySelector('table.episodes');
const rows = [...table.tBodies[0].rows];
const [kind, words, shown] = ['select', 'input', 'output'].map((name) => document.querySelector(`.filter ${name}`));

function filter() {
  const wanted = words.value.trim().toLowerCase().split(/\s+/);
  let count = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    const fits = (kind.value === 'all' || row.classList.contains(kind.value)) && wanted.every((word) => text.includes(word));
    row.hidden = !fits;
    count += fits;
  }
  shown.value = `${count} of ${rows.length} episodes`;
}

function sort(head) {
  const column = head.cellIndex;
  const down = head.getAttribute('aria-sort') === 'ascending';
  for (const other of head.parentNode.cells) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
  const value = (row) => row.cells[column].dataset.v;
  const order = (a, b) => (isNaN(value(a)) ? value(a).localeCompare(value(b)) : value(a) - value(b));
  rows.sort((a, b) => (down ? order(b, a) : order(a, b)));
  table.tBodies[0].append(...rows);
}

kind.addEventListener('input', filter);
words.addEventListener('input', filter);
document.querySelector('.filter').addEventListener('submit', (event) => event.preventDefault());
table.tHead.addEventListener('click', (event) => {
  const head = event.target.closest('th');
  if (head) sort(head);
});
filter();
