//! Admins: the first one, made at the start, and those that an operator adds.
//!
//! Addresses are not verified, so anybody may have signed up with the one that an operator has in
//! mind for an admin. An account that exists becomes an admin's only for its own password, and no
//! password is ever changed here.

use firstcome_core::{Email, Password};
use firstcome_ledger::{AccountRecord, By, PasswordHash};
use firstcome_web::Scopes;
use rand::TryRngCore;
use rand::rngs::OsRng;

use crate::{Identity, IdentityError};

/// What an admin's tokens permit.
const ADMIN: Scopes = Scopes::USER.and(Scopes::ADMIN);
/// Characters of a password that is made here: 5 random bits each.
const GENERATED_CHARS: usize = 26;
/// Crockford's base32 in lower case: no two characters look alike.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What it took to have an admin with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminChange {
    /// The account was made.
    Created,
    /// The account was there, with this password; it is an admin's now.
    Promoted,
    /// The account was an admin's already; its password is what it was.
    Unchanged {
        /// Whether that is the password given.
        same_password: bool,
    },
}

/// What the start found or made.
#[derive(Debug)]
pub enum FirstAdmin {
    /// There is an admin, and none was asked for.
    Existing,
    /// The admin that was configured with a password.
    Configured(AdminChange),
    /// There was no admin: one was made. Its password is known to nobody else; show it once.
    Generated {
        /// Its address.
        email: Email,
        /// Its password.
        password: Password,
    },
}

impl Identity {
    /// Sees to it that this address is an admin's. But for the first of all, the trail tells that.
    ///
    /// # Errors
    /// [`IdentityError::AdminNotProven`] when the address has an account that is no admin's and has
    /// another password; otherwise when the ledger does not answer.
    pub async fn add_admin(
        &self,
        email: Email,
        password: Password,
    ) -> Result<AdminChange, IdentityError> {
        // With the first admin the trail begins; before, nobody can have changed anything.
        let create = match self.ledger.any_admin().await? {
            true => self.ledger.by(By::operator("create")),
            false => self.ledger.clone(),
        };
        let told = Self { ledger: create, ..self.clone() };
        let made = told.create_account(email.clone(), password.clone(), ADMIN).await?;
        if made.is_some() {
            return Ok(AdminChange::Created);
        }
        // Between the two reads the account can only have been erased: then nothing is proven.
        let found = self.ledger.account_by_email(&email).await?;
        let Some((account, hash)) = found else {
            return Err(IdentityError::AdminNotProven { email });
        };
        self.promote(account, hash, password).await
    }

    /// Sees to it that there is an admin: the configured one, when it has a password; otherwise
    /// any, or one with this address and a new password.
    ///
    /// # Errors
    /// As [`Identity::add_admin`].
    pub async fn first_admin(
        &self,
        email: Email,
        password: Option<Password>,
    ) -> Result<FirstAdmin, IdentityError> {
        if let Some(password) = password {
            return Ok(FirstAdmin::Configured(self.add_admin(email, password).await?));
        }
        if self.ledger.any_admin().await? {
            return Ok(FirstAdmin::Existing);
        }
        let password = generate_password()?;
        Ok(match self.add_admin(email.clone(), password.clone()).await? {
            AdminChange::Created => FirstAdmin::Generated { email, password },
            // Another process that started at the same time was first, with its own password.
            AdminChange::Promoted | AdminChange::Unchanged { .. } => FirstAdmin::Existing,
        })
    }

    async fn promote(
        &self,
        account: AccountRecord,
        hash: PasswordHash,
        password: Password,
    ) -> Result<AdminChange, IdentityError> {
        let same_password = self.passwords.verify(password, Some(hash)).await?;
        let scope = Scopes::parse(&account.scope);
        if scope.has_any(Scopes::ADMIN) {
            return Ok(AdminChange::Unchanged { same_password });
        }
        if !same_password {
            return Err(IdentityError::AdminNotProven { email: account.email });
        }
        let told = self.ledger.by(By::operator("change"));
        told.set_scope(account.id, scope.and(ADMIN).to_string()).await?;
        Ok(AdminChange::Promoted)
    }
}

/// A password of 26 random characters, 130 bits.
///
/// # Errors
/// When the system has no random numbers.
pub fn generate_password() -> Result<Password, IdentityError> {
    let mut random = [0; GENERATED_CHARS];
    OsRng.try_fill_bytes(&mut random)?;
    let text: String =
        random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
    Ok(Password::parse(&text).expect("its length is within a password's bounds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generated_password_is_long_new_and_hidden() {
        let (one, other) =
            (generate_password().expect("random"), generate_password().expect("random"));
        assert_ne!(one.expose(), other.expose());
        assert_eq!(one.expose().len(), 26);
        let email = Email::parse("admin@localhost").expect("an address");
        let shown = format!("{:?}", FirstAdmin::Generated { email, password: one.clone() });
        assert!(!shown.contains(one.expose()), "{shown}");
    }
}
