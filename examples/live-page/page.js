// One row for each job: its latest message, at most four times a second.

import { SluiceFeed } from './sluice-feed.js';

const STATES = {
  job_started: 'started',
  job_progress: 'running',
  job_completed: 'completed',
  job_failed: 'failed',
};
const rows = new Map();

function rowOf(jobId) {
  const known = rows.get(jobId);
  if (known !== undefined) return known;
  const row = document.querySelector('#jobs').insertRow();
  for (let cell = 0; cell < 4; cell++) row.insertCell();
  row.cells[0].textContent = jobId;
  rows.set(jobId, row);
  return row;
}

function show({ message: { type, jobId, data }, crawlerId }) {
  if (jobId === undefined) return;
  const { cells } = rowOf(jobId);
  cells[1].textContent = STATES[type] ?? type;
  if (data.processed !== undefined)
    cells[2].textContent = data.total === undefined ? data.processed : `${data.processed} of ${data.total}`;
  cells[3].textContent = crawlerId ?? '';
}

new SluiceFeed('feed', show, {
  types: ['job_*'],
  every: '250ms',
  last: true,
  onState: (state) => {
    document.querySelector('#state').textContent = state;
  },
});
