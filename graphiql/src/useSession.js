import { useSyncExternalStore } from 'react';
import { getSession, onSession } from './session.js';

/** The session, with a new look of the component at each change. */
export const useSession = () => useSyncExternalStore(onSession, getSession);
