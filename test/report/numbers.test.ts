/** The report's numbers beside those of scipy and scikit-learn (golden/make_report.py), and by hand. */
import { describe, expect, it } from 'vitest';
import { atTemperature, calibrationOf, fitTemperature, reliability } from '../../src/report/calibration.ts';
import { judge, leastSure, type Predictions, worstMistakes } from '../../src/report/predictions.ts';
import { accuracyOf, classScores, confusionMatrix, shareOf } from '../../src/report/scores.ts';
import { goldenJson } from '../support/golden.ts';

const golden = await goldenJson<{
  labels: number[];
  probabilities: number[];
  confusion: number[][];
  precision: number[];
  recall: number[];
  f1: number[];
  support: number[];
  wilson: [right: number, count: number, low: number, high: number][];
  ece: number;
  nll: number;
  temperature: number;
  scaled_nll: number;
}>('report.json');

const predictions: Predictions = {
  labels: Int32Array.from(golden.labels),
  probabilities: Float32Array.from(golden.probabilities),
  classes: 4,
};

function made(labels: number[], rows: number[][]): Predictions {
  const probabilities = Float32Array.from(rows.flat());
  return { labels: Int32Array.from(labels), probabilities, classes: rows[0]!.length };
}

describe('scores', () => {
  it("are scikit-learn's: confusion matrix, precision, recall, F1", () => {
    const matrix = confusionMatrix(judge(predictions), 4);
    expect(matrix).toEqual(golden.confusion);
    for (const [id, scores] of classScores(matrix).entries()) {
      expect(scores.precision).toBeCloseTo(golden.precision[id]!, 12);
      expect(scores.recall).toBeCloseTo(golden.recall[id]!, 12);
      expect(scores.f1).toBeCloseTo(golden.f1[id]!, 12);
      expect(scores.support).toBe(golden.support[id]);
    }
  });

  it('of a class that never comes are null, not 0', () => {
    // Labels 0, 0, 1; taken for 0, 1, 1; class 2 has no picture and is never the answer.
    const scores = classScores([
      [1, 1, 0],
      [0, 1, 0],
      [0, 0, 0],
    ]);
    expect(scores[0]).toEqual({ precision: 1, recall: 0.5, f1: 2 / 3, support: 2 });
    expect(scores[2]).toEqual({ precision: null, recall: null, f1: null, support: 0 });
  });

  it("have Wilson's interval as scipy's binomtest has it", () => {
    for (const [right, count, low, high] of golden.wilson) {
      const share = shareOf(right, count);
      expect(share.low).toBeCloseTo(low, 12);
      expect(share.high).toBeCloseTo(high, 12);
    }
    expect(accuracyOf(judge(predictions)).value).toBeCloseTo(
      golden.confusion.reduce((sum, row, id) => sum + row[id]!, 0) / golden.labels.length,
      12,
    );
  });
});

describe('calibration', () => {
  it('has the error of 15 bins and the loss', () => {
    const { error, loss } = calibrationOf(predictions);
    expect(error).toBeCloseTo(golden.ece, 9);
    expect(loss).toBeCloseTo(golden.nll, 6);
  });

  it('puts a confidence on an edge into the bin below it', () => {
    const judged = judge(made([0, 1], [[0.6, 0.4], [0.75, 0.25]])); // biome-ignore format: rows
    const counts = (bins: number) => reliability(judged, bins).map(({ count }) => count);
    expect(counts(4)).toEqual([0, 0, 2, 0]);
  });

  it("has scipy's temperature", () => {
    const temperature = fitTemperature(predictions)!;
    expect(temperature).toBeCloseTo(golden.temperature, 6);
    expect(calibrationOf(atTemperature(predictions, temperature)).loss).toBeCloseTo(golden.scaled_nll, 6);
  });

  it('has no temperature where every picture is right: the colder the better', () => {
    expect(fitTemperature(made([0, 1], [[0.9, 0.1], [0.2, 0.8]]))).toBeNull(); // biome-ignore format: rows
  });
});

describe('pictures that deserve a look', () => {
  const judged = judge(
    made(
      [0, 1, 2, 0, 1],
      [
        [0.7, 0.2, 0.1],
        [0.5, 0.35, 0.15],
        [0.9, 0.1, 0],
        [0.4, 0.3, 0.3],
        [0.05, 0.9, 0.05],
      ],
    ),
  );

  it('are judged: the answer, the crossentropy, the margin', () => {
    expect(judged.map(({ predicted }) => predicted)).toEqual([0, 0, 0, 0, 1]);
    expect(judged[1]!.loss).toBeCloseTo(-Math.log(0.35), 6);
    // An underflow counts as the smallest float32, 126·ln 2.
    expect(judged[2]!.loss).toBeCloseTo(126 * Math.LN2, 6);
    expect(judged[4]!.margin).toBeCloseTo(0.85, 6);
  });

  it('come worst first and least sure first', () => {
    expect(worstMistakes(judged).map(({ index }) => index)).toEqual([2, 1]);
    expect(leastSure(judged).map(({ index }) => index)).toEqual([3, 1, 0, 2, 4]);
  });
});
