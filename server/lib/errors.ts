/** Every code an operation may fail with, and the HTTP status it becomes. The one place where the two meet. */
export const ERROR_STATUS = {
  invalid_input: 400,
  unauthenticated: 401,
  session_ended: 401,
  forbidden: 403,
  second_factor_required: 403,
  step_up_required: 403,
  not_found: 404,
  conflict: 409,
  wrong_state: 409,
  cancelled: 409,
  too_large: 413,
  range_not_satisfiable: 416,
  too_many_requests: 429,
  internal: 500,
  integrity_failure: 500,
  unavailable: 503,
  no_space: 507,
  /** There is room, and it is kept for signing in, deleting, exporting and backups: no new files. */
  space_reserved: 507,
  no_repository: 503,
  locked: 409,
  wrong_key: 400,
  /** Only an offline recovery kit opens it: this appliance holds no key to it. */
  needs_kit: 409,
  /** A server outside refused what we sign in to it with; whoever asked stays signed in here. */
  target_refused: 502,
  key_expired: 409,
  key_disabled: 409,
  key_pending_deletion: 409,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

/** Exit codes of the command line. @see server/cli/README.md */
export const EXIT = {
  ok: 0,
  error: 1,
  usage: 2,
  partial: 3,
  noRepository: 10,
  locked: 11,
  wrongKey: 12,
} as const;

interface ErrorParts {
  /** What the operator does next, one sentence. */
  hint?: string;
  /** For the log only: paths, ids, driver messages. Never a secret. */
  detail?: string;
  cause?: unknown;
}

/**
 * The only error class of the product. `message` is safe to show to whoever asked; `detail` and `cause` go to the log.
 */
export class HoldfastError extends Error {
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly detail: string | undefined;

  constructor(code: ErrorCode, message: string, parts: ErrorParts = {}) {
    super(message, parts.cause === undefined ? undefined : { cause: parts.cause });
    this.name = 'HoldfastError';
    this.code = code;
    this.hint = parts.hint;
    this.detail = parts.detail;
  }
}

/** The exit code that an error ends a command with. */
export function exitCodeOf(error: unknown): number {
  if (!(error instanceof HoldfastError)) return EXIT.error;
  switch (error.code) {
    case 'no_repository':
      return EXIT.noRepository;
    case 'locked':
      return EXIT.locked;
    case 'wrong_key':
    case 'needs_kit':
      return EXIT.wrongKey;
    case 'invalid_input':
      return EXIT.usage;
    default:
      return EXIT.error;
  }
}

/** True for a Node system error with one of the given codes, such as `ENOENT`. */
export function isSystemError(error: unknown, ...codes: string[]): error is NodeJS.ErrnoException {
  return error instanceof Error && 'code' in error && codes.includes(String(error.code));
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
