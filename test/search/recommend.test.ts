/** Which way of training is recommended. */
import { describe, expect, it } from 'vitest';
import { shareOf } from '../../src/report/scores.ts';
import { recommend } from '../../src/search/recommend.ts';

const way = (name: string, right: number, seconds: number) => ({
  name,
  accuracy: shareOf(right, 200),
  seconds,
});

describe('the recommendation', () => {
  // Wilson's interval of 180 of 200 begins at 0.8506 (scipy.stats.binomtest(180, 200).proportion_ci(method='wilson')).
  const best = way('thorough', 180, 900);

  it('is the quickest that may be as good as the best', () => {
    const ways = [best, way('good', 171, 60), way('fair', 170, 10), way('poor', 100, 1)];
    const { way: chosen, best: top, inTime } = recommend(ways);
    expect([chosen.name, top.name, inTime]).toEqual(['good', 'thorough', true]);
  });

  it('is the best itself if nothing comes near it', () => {
    expect(recommend([way('fair', 170, 10), best]).way).toBe(best);
  });

  it('minds the time that there is', () => {
    const ways = [best, way('fair', 165, 60), way('poor', 100, 1)];
    // 165 of 200: its interval begins at 0.7664, far above 100 of 200.
    expect(recommend(ways, 100)).toMatchObject({
      way: { name: 'fair' },
      best: { name: 'fair' },
      inTime: true,
    });
    expect(recommend(ways, 0.5)).toMatchObject({ way: { name: 'poor' }, inTime: false });
  });
});
