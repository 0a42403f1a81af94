/** Doing something again and again while a page is looked at: for what no event tells of. */

/** Call while a component starts. @param everyMs read anew when reactive state changes; undefined: not now. */
export function repeat(everyMs: () => number | undefined, act: () => void): void {
  $effect(() => {
    const ms = everyMs();
    if (ms === undefined) return;
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') act();
    }, ms);
    return () => {
      clearInterval(timer);
    };
  });
}
