/** A level as people read it. */
export const levelName = (level) => level && level[0] + level.slice(1).toLowerCase();
