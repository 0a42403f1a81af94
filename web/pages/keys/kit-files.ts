/** What a recovery kit is saved as, as the attribute `accept` takes it. */
export const KIT_FILES = '.json,.txt,application/json,text/plain';
