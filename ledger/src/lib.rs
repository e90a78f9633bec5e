//! Double-entry accounts, holds, fees, positions and profit; pure.
