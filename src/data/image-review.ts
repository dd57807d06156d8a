/** What is worth knowing about a person's pictures before training on them: duplicates, leaks, lonely classes. */
import type { ImageData, Picture } from './image-data.node.ts';
import { type SplitName, splitNames } from './image-listing.node.ts';
import { lookAlikes } from './near-duplicates.ts';

/** Files with the same bytes. */
export interface Duplicates {
  /** The worst that holds: in two classes, in two splits, or beside each other. */
  readonly kind: 'classes' | 'splits' | 'same';
  readonly pictures: readonly Picture[];
}

/** Two pictures that look the same and lie in different splits. */
export interface NearDuplicate {
  /** In the split that learns, or decides. */
  readonly first: Picture;
  readonly second: Picture;
  /** Bits of 64 in which their hashes differ. */
  readonly distance: number;
}

/** Groups of files with the same bytes, the worst kind first. */
export function duplicatesOf(pictures: readonly Picture[]): Duplicates[] {
  const groups = new Map<string, Picture[]>();
  for (const picture of pictures) {
    const group = groups.get(picture.sha256);
    if (group === undefined) groups.set(picture.sha256, [picture]);
    else group.push(picture);
  }
  const kinds = ['classes', 'splits', 'same'] as const;
  return [...groups.values()]
    .filter(({ length }) => length > 1)
    .map((group) => ({ kind: kindOf(group), pictures: group }))
    .sort((a, b) => kinds.indexOf(a.kind) - kinds.indexOf(b.kind));
}

function kindOf(group: readonly Picture[]): Duplicates['kind'] {
  if (new Set(group.map(({ label }) => label)).size > 1) return 'classes';
  return new Set(group.map(({ split }) => split)).size > 1 ? 'splits' : 'same';
}

/** Pictures of a later split that look like one of an earlier split without being the same file. */
export function nearDuplicatesOf(pictures: readonly Picture[]): NearDuplicate[] {
  const of = (split: SplitName) => pictures.filter((picture) => picture.split === split);
  const parts = splitNames.map(of);
  return parts.flatMap((later, i) =>
    parts.slice(0, i).flatMap((earlier) =>
      lookAlikes(earlier, later)
        .map(({ left, right, distance }) => ({ first: earlier[left]!, second: later[right]!, distance }))
        .filter(({ first, second }) => first.sha256 !== second.sha256),
    ),
  );
}

/** How many pictures each class has in a split. */
export function countsOf({ pictures, classNames }: ImageData, split: SplitName): number[] {
  const counts = new Map<string, number>();
  for (const { label, split: of } of pictures) {
    if (of === split) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
  return classNames.map((name) => counts.get(name) ?? 0);
}

/** Classes that have one picture in all. */
export function lonelyClasses(data: ImageData): string[] {
  const counts = splitNames.map((split) => countsOf(data, split));
  return data.classNames.filter((_, id) => counts.reduce((sum, split) => sum + split[id]!, 0) === 1);
}
