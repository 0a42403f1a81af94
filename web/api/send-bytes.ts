/** Sends bytes and tells how many have left: the one thing that `fetch` cannot. */
import { CHANGE_HEADERS, errorOf, offlineError } from './client.ts';

interface SendOptions {
  signal: AbortSignal;
  onSent: (bytes: number) => void;
  onEnd?: () => void;
  /** More than every change carries. */
  headers?: Record<string, string>;
}

/** @returns the answer's text. @throws ApiError; an AbortError when `signal` says so. */
export function sendBytes(
  method: 'PUT' | 'POST' | 'PATCH',
  url: string,
  body: Blob,
  { signal, onSent, onEnd, headers = {} }: SendOptions,
): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const abort = (): void => {
      request.abort();
    };
    request.upload.onprogress = (event) => {
      onSent(event.loaded);
    };
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(request.responseText);
      else reject(errorOf(request.status, request.responseText));
    };
    request.onerror = () => {
      reject(offlineError());
    };
    request.onabort = () => {
      reject(new DOMException('The upload was cancelled', 'AbortError'));
    };
    request.onloadend = () => {
      signal.removeEventListener('abort', abort);
      onEnd?.();
    };
    signal.addEventListener('abort', abort);
    request.open(method, url);
    request.setRequestHeader('content-type', 'application/octet-stream');
    for (const [name, value] of Object.entries({ ...CHANGE_HEADERS, ...headers }))
      request.setRequestHeader(name, value);
    request.send(body);
    if (signal.aborted) abort();
  });
}

/** Nanoseconds since the epoch, as the API wants the time of a file. */
export function mtimeOf(modifiedMs: number): string {
  return (BigInt(Math.max(0, Math.trunc(modifiedMs))) * 1_000_000n).toString();
}
