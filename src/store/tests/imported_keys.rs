//! Imported hashes are replaced once, and what an operator has done meanwhile stays.

use super::*;

const SHA: &str = "{SHA}";

fn phc(salt: &str) -> String {
    PHC.replace("c2FsdHNhbHQ", salt)
}

fn import(test: &mut TestStore, owner: &KeyOwner, access_key: &str) -> crate::model::ApiKey {
    let mut new = new_key(owner, access_key);
    new.verifier = KeyVerifier { phc: phc(access_key), fingerprint: None, inner: Some(SHA.to_owned()) };
    test.store.import_keys(owner, &[new]).unwrap().0.remove(0).unwrap()
}

fn rehash(key: &crate::model::ApiKey, new: &str) -> Rehash {
    Rehash { key: key.id, old_phc: phc(key.access_key.as_str()), new_phc: phc(new) }
}

fn verifiers(test: &TestStore, key: &crate::model::ApiKey) -> KeyVerifiers {
    test.store.database.read(|at| lookup::key(at, key.access_key.as_str())).unwrap().record.unwrap().verifiers
}

fn rotate(test: &mut TestStore, key: &crate::model::ApiKey, overlap: Option<i64>) {
    let ends = |hours| Timestamp::now() + jiff::SignedDuration::from_hours(hours);
    let overlap = overlap.map(|hours| Overlap { ends: ends(hours), until_unused: None });
    let verifier = KeyVerifier { phc: phc("rotated"), fingerprint: None, inner: None };
    test.store.rotate_key(key.id, &verifier, overlap, &ExpectedRevision::Any).unwrap();
}

pub(super) fn an_imported_hash_is_replaced_once_and_what_came_between_wins(test: &mut TestStore) {
    let owner = KeyOwner::Account(test.account("web").id);
    let keys = ["used", "stopped", "rotated1", "ended", "removed"].map(|name| import(test, &owner, name));
    let [used, stopped, rotated, ended, removed] = &keys;
    let first = rehash(used, "first");
    assert_eq!(test.store.replace_imported_hashes(std::slice::from_ref(&first)).unwrap(), 1);
    let replaced = KeyVerifier { phc: phc("first"), fingerprint: None, inner: None };
    assert_eq!(verifiers(test, used).current, replaced);
    // another gateway is slower
    let number = test.number();
    assert_eq!(test.store.replace_imported_hashes(&[first, rehash(used, "second")]).unwrap(), 0);
    assert_eq!((test.number(), verifiers(test, used).current), (number, replaced));

    test.store.set_key_state(stopped.id, State::Inactive).unwrap();
    test.store.set_key_state(removed.id, State::Inactive).unwrap();
    test.store.remove_key(removed.id).unwrap();
    rotate(test, rotated, Some(1));
    rotate(test, ended, None);
    let number = test.number();
    let all = keys.each_ref().map(|key| rehash(key, "late"));
    assert_eq!(
        test.store.replace_imported_hashes(&all).unwrap(),
        1,
        "only the former secret of one is there"
    );
    assert_eq!(test.number(), number + 1);
    let now = verifiers(test, rotated);
    assert_eq!(
        (now.current.phc, now.former.unwrap()),
        (phc("rotated"), KeyVerifier { phc: phc("late"), fingerprint: None, inner: None })
    );
    assert_eq!(verifiers(test, ended).current.phc, phc("rotated"));
    assert_eq!(verifiers(test, stopped).current.inner.as_deref(), Some(SHA));
    assert_eq!(test.store.find_key("stopped").unwrap().state, State::Inactive);
    // it is tried again when the key works again
    test.store.set_key_state(stopped.id, State::Active).unwrap();
    assert_eq!(test.store.replace_imported_hashes(&[rehash(stopped, "again")]).unwrap(), 1);
    let replaced = |name: &str| test.store.stored_key(&name.parse().unwrap()).unwrap().unwrap().replaced;
    assert_eq!(replaced("used"), Some(ReplacedSecret::Rehashed));
    assert_eq!(replaced("ended"), Some(ReplacedSecret::Rotated));
    let unused = import(test, &owner, "unused");
    let edit = KeyEdit::from(Edit { name: Some(Some(name("unused"))), ..Edit::default() });
    test.store.edit_key(unused.id, &edit).unwrap();
    let stored = |name: &str| test.store.stored_key(&name.parse().unwrap());
    assert_eq!(stored("unused").unwrap().unwrap().replaced, None);
    assert!(stored("removed").unwrap_err().is_refusal());
    test.key(&owner, "made-here");
    rotate(test, &test.store.find_key("made-here").unwrap(), None);
    assert_eq!(test.store.stored_key(&"made-here".parse().unwrap()).unwrap().unwrap().replaced, None);
}

#[test]
fn a_rewound_record_gets_the_former_secret_back_with_how_it_was_imported() {
    let mut test = test_store();
    let owner = KeyOwner::Account(test.account("web").id);
    let key = import(&mut test, &owner, "bob");
    rotate(&mut test, &key, Some(1));
    let lost = key_secrets::LostSecrets {
        key: test.store.find_key("bob").unwrap(),
        verifiers: verifiers(&test, &key),
    };
    let mut other = test_store();
    let account = other.account("web");
    import(&mut other, &KeyOwner::Account(account.id), "bob");
    other.store.restore_secrets(&lost).unwrap();
    assert_eq!(verifiers(&other, &key), verifiers(&test, &key));
    let former = verifiers(&other, &key).former.unwrap();
    assert_eq!((former.phc, former.inner.as_deref()), (phc("bob"), Some(SHA)));
}
