/** A worker thread that prints one report. */
import { parentPort, workerData } from 'node:worker_threads';
import { printVerification } from './print-verification.ts';

parentPort?.postMessage(await printVerification(Buffer.from(workerData as Uint8Array)));
