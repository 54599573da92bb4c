//! What may go wrong while alerts are pending, firing and resolved, done to the real binary: nobody is told less, or something
//! else, than an undisturbed Hearth would have told.

mod failing;
mod kill;
mod oracle;
mod reload;
