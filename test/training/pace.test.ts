/** How many steps go to the engine at a time. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { Pace } from '../../src/training/pace.ts';

beforeEach(() => void vi.useFakeTimers({ toFake: ['performance'] }));
afterEach(() => void vi.useRealTimers());

/** Steps that took so long. */
function pass(pace: Pace, milliseconds: number, steps = 1): void {
  vi.advanceTimersByTime(milliseconds);
  pace.done(steps);
}

it('is one until a step has been timed, which the first is not: it waits for graphs and data', () => {
  const pace = new Pace();
  expect(pace.steps).toBe(1);
  pass(pace, 30_000);
  expect(pace.steps).toBe(1);
  pass(pace, 600);
  expect(pace.steps, '5 s / 0.6 s').toBe(8);
});

it('is what fits into five seconds by all steps so far, sixteen at most', () => {
  const pace = new Pace();
  pass(pace, 0);
  pass(pace, 1);
  expect(pace.steps).toBe(16);
  pass(pace, 31_999, 7);
  expect(pace.steps, '8 steps in 32 s').toBe(1);
  pass(pace, 0, 24);
  expect(pace.steps, '32 steps in 32 s').toBe(5);
});

it('does not count what comes between steps', () => {
  const pace = new Pace();
  pass(pace, 0);
  pass(pace, 500);
  pace.pause();
  pass(pace, 60_000);
  pass(pace, 500);
  expect(pace.steps, '5 s / 0.5 s').toBe(10);
});

it('lets a run wait behind one of less than two and a half seconds', () => {
  const pace = new Pace();
  expect(pace.ahead).toBe(0);
  pass(pace, 0);
  pass(pace, 156);
  expect(pace.ahead, '16 steps of 156 ms').toBe(1);
  pass(pace, 158);
  expect(pace.ahead, '16 steps of 157 ms').toBe(0);
});
