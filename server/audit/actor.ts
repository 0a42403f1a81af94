/** Who did something: a signed-in person, Holdfast itself, or the operating-system user at the console. */
export interface Actor {
  kind: 'user' | 'system' | 'console';
  /** User id, for kind `user`. Opaque: the log never holds a name or an e-mail. */
  id?: string | undefined;
  /** Operating-system user for kind `console`, the part of the product for kind `system`. At most 64 characters are kept. */
  label?: string | undefined;
  sessionId?: string | undefined;
  /** IP address the request came from. */
  address?: string | undefined;
  requestId?: string | undefined;
}

/** An act of Holdfast itself; `part` names what did it, such as `scheduler`. */
export function systemActor(part: string): Actor {
  return { kind: 'system', label: part };
}
