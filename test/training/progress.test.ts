/** Progress on a terminal that is watched, and in a log. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ProgressOptions, progressFor, render } from '../../src/training/progress.ts';
import { leaveStatusLine, StatusLine, whileWaiting } from '../../src/training/status_line.ts';

let written = '';
const { stderr } = process;
const before = { isTTY: stderr.isTTY, columns: stderr.columns, env: process.env };

beforeEach(() => {
  written = '';
  vi.useFakeTimers();
  vi.spyOn(stderr, 'write').mockImplementation((text) => {
    written += text;
    return true;
  });
});
afterEach(() => {
  leaveStatusLine();
  vi.useRealTimers();
  vi.restoreAllMocks();
  Object.assign(stderr, { isTTY: before.isTTY, columns: before.columns });
  process.env = before.env;
});

function on(terminal: boolean, env: Readonly<Record<string, string>> = {}): void {
  Object.assign(stderr, { isTTY: terminal, columns: 60 });
  process.env = { TERM: 'xterm', ...env };
}

/** What a terminal shows in the end: a carriage return writes over, an erasure cuts the rest. */
function screen(): string[] {
  return written.split('\n').map((line) =>
    line.split('\r').reduce((shown, part) => {
      const erases = part.endsWith('\x1b[K');
      const text = erases ? part.slice(0, -3) : part;
      return erases ? text : text + shown.slice(text.length);
    }, ''),
  );
}

const epoch: ProgressOptions = { title: 'Epoch 1/2', total: 100, unit: 'step', images: 32 };

describe('a bar says', () => {
  it('what is done, the time left, the time of a step and pictures a second', () => {
    // 25 of 100 steps in 5 s: 200 ms each, 75 left make 15 s; 25 steps of 32 pictures in 5 s are 160 a second.
    expect(render(epoch, 25, 5, { loss: 0.5 })).toBe(
      ' 25/100 ━━━━━─────────────── 15s left 200ms/step 160 images/s - loss: 0.5000',
    );
    expect(render({ title: '', total: 7200, unit: 'image' }, 1800, 1800, {})).toBe(
      '1800/7200 ━━━━━─────────────── 1:30:00 left 1.0 images/s',
    );
  });

  it('the time taken before the first step and after the last one', () => {
    expect(render(epoch, 0, 3, {})).toBe('  0/100 ──────────────────── 3s');
    expect(render(epoch, 100, 20, {})).toBe('100/100 ━━━━━━━━━━━━━━━━━━━━ 20s 200ms/step 160 images/s');
  });

  it('its numbers below it where they do not fit beside it', () => {
    // The bar takes 56 columns, " - " 3 and the number 12.
    const logs = { loss: 0.5 };
    const line = '100/100 ━━━━━━━━━━━━━━━━━━━━ 20s 200ms/step 160 images/s';
    expect(render(epoch, 100, 20, logs, 71)).toBe(`${line} - loss: 0.5000`);
    expect(render(epoch, 100, 20, logs, 70)).toBe(`${line}\n        loss: 0.5000`);
  });
});

describe('on a terminal', () => {
  it('one line is written over, never cleared, never longer than the terminal until its end', () => {
    on(true);
    const progress = progressFor(true, epoch);
    for (let step = 1; step <= 100; step++) {
      vi.advanceTimersByTime(200);
      progress.update(step, { accuracy: 0.5, loss: 1 });
    }
    progress.end({ accuracy: 0.75, loss: 1 });
    expect(screen()).toEqual([
      'Epoch 1/2',
      '100/100 ━━━━━━━━━━━━━━━━━━━━ 20s 200ms/step 160 images/s',
      '        accuracy: 0.7500 - loss: 1.0000',
      '',
    ]);
    const drawn = written.split('\r').slice(1, -1);
    expect(drawn.length).toBeGreaterThan(90);
    expect(Math.max(...drawn.map((text) => text.replace('\x1b[K', '').length))).toBe(59);
    expect(written).not.toContain('\x1b[2K');
  });

  it('time goes on where no step comes', () => {
    on(true);
    const progress = progressFor(true, epoch);
    vi.advanceTimersByTime(4000);
    expect(screen()).toEqual(['Epoch 1/2', '  0/100 ──────────────────── 4s']);
    progress.end({});
  });

  it('validation takes the place of the bar for a while, and its time is not that of steps', () => {
    on(true);
    const progress = progressFor(true, epoch);
    vi.advanceTimersByTime(10_000);
    progress.update(100, {});
    const part = progress.part('Validating', 10);
    vi.advanceTimersByTime(1900);
    part.update(5, {});
    expect(screen().at(-1)).toBe('Validating  5/10 ━━━━━━━━━━────────── 2s left');
    progress.end({ valLoss: 1 });
    expect(screen().slice(-3)).toEqual([
      '100/100 ━━━━━━━━━━━━━━━━━━━━ 10s 100ms/step 320 images/s',
      '        valLoss: 1.0000',
      '',
    ]);
  });

  it('a part before the first step takes the place of the bar, and its time is not that of steps', () => {
    on(true);
    const progress = progressFor(true, { title: '', total: 100, unit: 'image' });
    const part = progress.part('Calibrating', 10);
    vi.advanceTimersByTime(7900);
    part.update(10, {});
    vi.advanceTimersByTime(100);
    expect(screen()).toEqual(['Calibrating 10/10 ━━━━━━━━━━━━━━━━━━━━ 8s']);
    // 50 pictures in 5 s: 10 a second, and 5 s for the others.
    vi.advanceTimersByTime(4900);
    progress.update(50, {});
    expect(screen()).toEqual([' 50/100 ━━━━━━━━━━────────── 5s left 10 images/s']);
    progress.end({});
  });

  it('a message comes below the line, and the line comes again at its end', () => {
    on(true);
    const progress = progressFor(true, epoch);
    leaveStatusLine();
    stderr.write('Stopping.\n');
    vi.advanceTimersByTime(3000);
    progress.update(3, {});
    progress.end({});
    expect(screen().map((line) => line.slice(0, 9))).toEqual([
      'Epoch 1/2',
      '  0/100 ─',
      'Stopping.',
      '  3/100 ─',
      '',
    ]);
  });

  it('a second line ends the first', () => {
    on(true);
    const first = new StatusLine(() => 'first');
    new StatusLine(() => 'second').end();
    first.update();
    expect(screen()).toEqual(['first', 'second', '']);
  });
});

describe.each([
  ['without a terminal', false, {}],
  ['in CI', true, { CI: 'true' }],
  ['on a dumb terminal', true, { TERM: 'dumb' }],
])('%s', (_, terminal, env) => {
  it('there is a plain line every ten seconds and one at the end', () => {
    on(terminal, env);
    const progress = progressFor(true, epoch);
    for (let step = 1; step <= 100; step++) {
      vi.advanceTimersByTime(250);
      progress.update(step, {});
    }
    progress.end({ loss: 0.25 });
    expect(written.split('\n')).toEqual([
      'Epoch 1/2:  40/100 ━━━━━━━━──────────── 15s left 250ms/step 128 images/s',
      'Epoch 1/2:  80/100 ━━━━━━━━━━━━━━━━──── 5s left 250ms/step 128 images/s',
      'Epoch 1/2: 100/100 ━━━━━━━━━━━━━━━━━━━━ 25s 250ms/step 128 images/s - loss: 0.2500',
      '',
    ]);
  });
});

describe('a wait of unknown length', () => {
  const wait = (verbose: boolean, ms: number) =>
    whileWaiting(
      'Writing',
      verbose,
      () => new Promise<string>((resolve) => setTimeout(() => resolve('done'), ms)),
    );

  it('is shown only if it is long', async () => {
    on(true);
    const short = wait(true, 500);
    await vi.advanceTimersByTimeAsync(500);
    expect(await short).toBe('done');
    expect(written).toBe('');
    const long = wait(true, 3000);
    await vi.advanceTimersByTimeAsync(3000);
    await long;
    expect(screen()).toEqual(['Writing 3s', '']);
  });

  it('is silent where that was asked for', async () => {
    on(true);
    const quiet = wait(false, 3000);
    await vi.advanceTimersByTimeAsync(3000);
    await quiet;
    expect(written).toBe('');
  });
});
