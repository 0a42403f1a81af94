/** A worker thread that prints one report. */
import { parentPort, workerData } from 'node:worker_threads';
import { printReport } from './print-report.ts';

parentPort?.postMessage(await printReport(Buffer.from(workerData as Uint8Array)));
