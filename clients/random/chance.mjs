// Chance that can be had again: the same seed gives the same choices (mulberry32, which is small and good enough for tests).

/** A source of choices; `of` gives one of its own to each request, so that one can be made again without those before it. */
export function chance(seed) {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
  const below = (limit) => Math.floor(next() * limit);
  const pick = (list) => list[below(list.length)];
  return {
    below,
    pick,
    between: (low, high) => low + below(high - low + 1),
    /** True with this probability. */
    odds: (probability) => next() < probability,
    /** One of `[weight, value]`. */
    weighted: (pairs) => {
      let at = next() * pairs.reduce((sum, [weight]) => sum + weight, 0);
      return pairs.find(([weight]) => (at -= weight) < 0)[1];
    },
    some: (list, least, most) => Array.from({ length: Math.min(most, least + below(most - least + 1)) }, () => pick(list)),
    letters: (length, from = 'abcdefghjkmnpqrstvwxyz0123456789') => Array.from({ length }, () => pick(from)).join(''),
    of: (number) => chance(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) + Math.imul(number + 1, 0xc2b2ae35)),
  };
}
