/**
 * One HTTP exchange, with a watch over it: bytes must move, and the whole has an end. Bodies are sent from where they lie, and what
 * comes goes where the caller wants it, so that nothing is copied.
 */
import { request as httpRequest, type Agent, type IncomingHttpHeaders } from 'node:http';
import { request as httpsRequest } from 'node:https';
import type { Turn } from '../pace.ts';
import { S3Silence } from './failures.ts';

/** Sent between two looks at whether the line still takes bytes. */
const PIECE_BYTES = 256 * 1024;
/** Bodies beyond this wait for the server to want them: a refusal should not cost a whole upload. */
const ASK_FIRST_BYTES = 1024 * 1024;
const ASK_FIRST_MS = 1_000;
/** Of answers that are kept: listings have at most 1,000 names. */
const MOST_KEPT_BYTES = 8 * 1024 * 1024;

export interface Exchange {
  url: URL;
  agent: Agent;
  method: string;
  headers: Record<string, string>;
  body: readonly Uint8Array[];
  /** Asked when a good answer begins; takes its pieces in order. Without it they are kept. */
  take?: ((answer: AnswerHead) => (piece: Buffer) => void) | undefined;
  /** Asked before each piece of the body. */
  turn?: Turn | undefined;
  stallMs: number;
  limitMs: number;
}

export interface AnswerHead {
  status: number;
  headers: IncomingHttpHeaders;
}

export interface Answer extends AnswerHead {
  /** Empty when the pieces were taken. */
  body: Buffer;
}

/** @throws S3Silence when no whole answer came; whatever `take` throws. */
export function exchange(wanted: Exchange): Promise<Answer> {
  const { url, agent, method, headers, body, turn, stallMs, limitMs } = wanted;
  const length = body.reduce((sum, part) => sum + part.length, 0);
  const asks = length > ASK_FIRST_BYTES;
  return new Promise((resolve, reject) => {
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    const request = send(url, {
      agent,
      method,
      headers: { ...headers, ...(asks ? { expect: '100-continue' } : {}) },
    });
    let over = false;
    let answering = false;
    const end = (act: () => void): void => {
      if (over) return;
      over = true;
      clearTimeout(stall);
      clearTimeout(limit);
      clearTimeout(asking);
      act();
    };
    const fail = (error: unknown): void =>
      end(() => {
        request.destroy();
        reject(error instanceof Error ? error : new Error(String(error)));
      });
    const silent = (why: string) => () => fail(new S3Silence(why));
    const stall = setTimeout(silent(`nothing moved for ${String(stallMs)} ms`), stallMs);
    const limit = setTimeout(silent(`it took longer than ${String(limitMs)} ms`), limitMs);
    const moved = (): void => {
      if (!over) stall.refresh();
    };

    let sending = false;
    const sendBody = (): void => {
      if (sending || over) return;
      sending = true;
      clearTimeout(asking);
      void writePieces();
    };
    const writePieces = async (): Promise<void> => {
      for (const part of body) {
        for (let at = 0; at < part.length; at += PIECE_BYTES) {
          const piece = part.subarray(at, at + PIECE_BYTES);
          await turn?.(piece.length);
          if (over || answering) return;
          // Whoever waits for a turn is not silent.
          moved();
          if (request.write(piece)) continue;
          await new Promise<void>((drained) => {
            const go = (): void => {
              request.off('drain', go).off('close', go);
              drained();
            };
            request.on('drain', go).on('close', go);
          });
          moved();
        }
      }
      if (!over) request.end();
    };
    const asking = setTimeout(sendBody, ASK_FIRST_MS);
    request.on('continue', sendBody);
    request.on('error', (error) => fail(new S3Silence('the connection failed', error)));
    request.on('response', (response) => {
      answering = true;
      moved();
      const head = { status: response.statusCode ?? 0, headers: response.headers };
      const kept: Buffer[] = [];
      let keptBytes = 0;
      let received = 0;
      let take: ((piece: Buffer) => void) | undefined;
      try {
        if (head.status >= 200 && head.status < 300) take = wanted.take?.(head);
      } catch (error) {
        fail(error);
        return;
      }
      response.on('data', (piece: Buffer) => {
        moved();
        received += piece.length;
        try {
          if (take !== undefined) take(piece);
          else if ((keptBytes += piece.length) <= MOST_KEPT_BYTES) kept.push(piece);
          else fail(new S3Silence('the answer is too long'));
        } catch (error) {
          fail(error);
        }
      });
      response.on('error', (error) => fail(new S3Silence('the answer broke off', error)));
      response.on('close', () => fail(new S3Silence('the answer broke off')));
      response.on('end', () => {
        const promised = head.headers['content-length'];
        if (
          !response.complete ||
          (method !== 'HEAD' && promised !== undefined && Number(promised) !== received)
        ) {
          fail(new S3Silence('the answer is cut short'));
          return;
        }
        end(() => {
          // A refusal that came before the body was sent: this connection is of no more use.
          if (length > 0 && !request.writableFinished) request.destroy();
          resolve({ ...head, body: Buffer.concat(kept) });
        });
      });
    });
    if (asks) request.flushHeaders();
    else sendBody();
  });
}
