const HOOK = Symbol.for('holdfast.crashPoint');

/** Does something in this process at the next time that a durable step is reached, once. */
export function atNext(point: string, act: () => void): void {
  const hooks = globalThis as { [HOOK]?: ((name: string) => void) | undefined };
  hooks[HOOK] = (reached) => {
    if (reached !== point) return;
    hooks[HOOK] = undefined;
    act();
  };
}
