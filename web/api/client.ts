/**
 * One way to the API. Every failure becomes an `ApiError` that a person can act on; a session that ended is told to whoever
 * asked to know, so that no page has to think of it.
 */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;
  readonly requestId: string | undefined;

  constructor(status: number, code: string, message: string, hint?: string, requestId?: string) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.requestId = requestId;
  }
}

export const API = '/api/v1';
/** The server refuses every change without it, which no other site's form can send (CSRF). */
export const CHANGE_HEADERS = { 'x-holdfast': '1' };

let onSignedOut: (error: ApiError) => void = () => undefined;
let proveAgain: () => Promise<boolean> = () => Promise.resolve(false);

/** Called whenever the server says that there is no session. */
export function whenSignedOut(listener: (error: ApiError) => void): void {
  onSignedOut = listener;
}

/** Called when an act asks for a fresh proof; after one that is given the call is repeated. */
export function whenProofNeeded(ask: () => Promise<boolean>): void {
  proveAgain = ask;
}

let onRestricted: () => void = () => undefined;

/** Called whenever the server says that a second factor must be added first. */
export function whenRestricted(listener: () => void): void {
  onRestricted = listener;
}

/** A no to somebody who comes in is no end of a session. */
const SIGNS_IN = new Set(['/session', '/session/single-sign-on/return']);

interface RequestOptions {
  method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  body?: unknown;
  query?: Record<string, string | number | undefined>;
  signal?: AbortSignal | undefined;
  /** Somebody is there: it counts as use of the session where the address itself does not. */
  active?: boolean;
}

/** @throws ApiError; an AbortError when `signal` says so. */
export async function request<T>(path: string, options: RequestOptions = {}): Promise<T> {
  const text = await requestText(path, options);
  return (text === '' ? undefined : JSON.parse(text)) as T;
}

/** The answer as it is. @throws ApiError; an AbortError when `signal` says so. */
export async function requestText(path: string, options: RequestOptions = {}): Promise<string> {
  try {
    return await send(path, options);
  } catch (error) {
    const asked = error instanceof ApiError && error.code === 'step_up_required';
    if (!asked || !(await proveAgain())) throw error;
    return send(path, options);
  }
}

async function send(path: string, options: RequestOptions): Promise<string> {
  const method = options.method ?? 'GET';
  const hasBody = options.body !== undefined;
  let response: Response;
  try {
    response = await fetch(API + path + queryText(options.query), {
      method,
      headers: {
        accept: 'application/json',
        ...(method === 'GET' ? {} : CHANGE_HEADERS),
        ...(hasBody ? { 'content-type': 'application/json' } : {}),
        ...(options.active === true ? { 'x-holdfast-active': '1' } : {}),
      },
      ...(hasBody ? { body: JSON.stringify(options.body) } : {}),
      ...(options.signal ? { signal: options.signal } : {}),
    });
  } catch (cause) {
    if (isAbort(cause)) throw cause;
    throw offlineError();
  }
  if (!response.ok) throw errorOf(response.status, await response.text(), !SIGNS_IN.has(path));
  return response.text();
}

/** `?a=1&b=2`, without what is undefined or empty. */
export function queryText(query: RequestOptions['query'] = {}): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}

/** Reads the server's error body; anything else (a proxy's page) becomes an error that says the status. */
export function errorOf(status: number, body: string, tellSignedOut = true): ApiError {
  const error = readError(status, body);
  if (status === 401 && tellSignedOut) onSignedOut(error);
  return error;
}

function readError(status: number, body: string): ApiError {
  try {
    const { error } = JSON.parse(body) as {
      error: { code: string; message: string; hint?: string; requestId?: string };
    };
    if (error.code === 'second_factor_required') onRestricted();
    return new ApiError(status, error.code, error.message, error.hint, error.requestId);
  } catch {
    return new ApiError(
      status,
      'internal',
      `The appliance answered with status ${status} and no explanation`,
      'Try again. If it stays, look at the log of the appliance.',
    );
  }
}

export function offlineError(): ApiError {
  return new ApiError(
    0,
    'offline',
    'The appliance does not answer',
    'Check that it runs and that this computer reaches it. Nothing was changed by this page since.',
  );
}

export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'AbortError';
}

/** Any failure as something that can be shown. */
export function asApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  const hint =
    error instanceof Error && 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
  return new ApiError(0, 'browser', error instanceof Error ? error.message : String(error), hint);
}
