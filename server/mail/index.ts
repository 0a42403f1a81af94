/** The front door of the mail module. */
export { checkMailHealth } from './mail-health.ts';
export { tidyMail } from './mail-log.ts';
export { mailState } from './mail-state.ts';
export { queueMail, type QueueMailDeps } from './queue-mail.ts';
export { mailRoutes } from './routes.ts';
export { sendNext, startMailSender, type SendDeps } from './send-mail.ts';
