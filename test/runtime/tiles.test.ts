import { expect, it } from 'vitest';
import { listsIntegerTiles } from '../../src/runtime/tiles.node.ts';

const flags = (names: string) =>
  `processor\t: 0\nmodel name\t: a processor\nflags\t\t: fpu vme ${names}\nbugs\t\t:\n`;

it('tells a processor with integer tiles by its flags', () => {
  expect(listsIntegerTiles(flags('avx512_vnni amx_tile amx_int8'))).toBe(true);
  expect(listsIntegerTiles(flags('amx_bf16 amx_tile amx_int8 flush_l1d'))).toBe(true);
  expect(listsIntegerTiles(flags('avx512_vnni amx_bf16 amx_tile'))).toBe(false);
  expect(listsIntegerTiles('Features\t: fp asimd i8mm')).toBe(false);
});
