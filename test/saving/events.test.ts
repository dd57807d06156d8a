/** Event files byte by byte beside those of the package tensorboard (`golden/make_events.py`). */
import { describe, expect, it } from 'vitest';
import {
  crc32c,
  histogramSummary,
  scalarSummary,
  summaryRecord,
  versionRecord,
} from '../../src/saving/events.node.ts';
import { goldenJson } from '../support/golden.ts';

const { records, values } = await goldenJson<{
  readonly records: Readonly<Record<'version' | 'scalar' | 'histogram' | 'constant', string>>;
  readonly values: readonly number[];
}>('events.json');
const time = 1700000000.5;

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}

describe('event files', () => {
  it('check with CRC-32C', () => {
    // The check value of the polynomial (RFC 3720, B.4 has others).
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  it('begin with their version', () => {
    expect(hex(versionRecord(time))).toBe(records.version);
  });

  it('hold scalars', () => {
    expect(hex(summaryRecord(time, 3, [scalarSummary('epoch_loss', 0.625)]))).toBe(records.scalar);
  });

  it('hold histograms, of one value too', () => {
    const summary = histogramSummary('conv/kernel/histogram', Float32Array.from(values));
    expect(hex(summaryRecord(time, 3, [summary]))).toBe(records.histogram);
    const constant = histogramSummary('conv/bias/histogram', new Float32Array(5).fill(0.5));
    expect(hex(summaryRecord(time, 3, [constant]))).toBe(records.constant);
  });
});
