//! Several keys at once, and what a list says of itself.

use crate::shared;
use crate::support::http1::Request;
use crate::support::marker;
use crate::visitor::{Visitor, row_of};

#[test]
fn several_keys_are_deactivated_with_one_question_and_one_answer() {
    let shared = shared();
    let visitor = Visitor::signed_in(shared.gateway(), &shared.alice);
    let names = [marker(), format!("<b>{}", marker()), marker()];
    let keys: Vec<_> = names.iter().map(|name| visitor.create_key("environment=e1", name)).collect();
    let list = visitor.page("/keys?environment=e1&environment-limit=100");
    for key in &keys {
        assert!(row_of(&list, &key.id).unwrap().contains("form=\"environment-keys-bulk\""), "{list}");
    }
    let [first, second, stopped] = &keys[..] else { panic!("three keys") };
    assert_eq!(visitor.post(&format!("/keys/{}/deactivate", stopped.id), &[]).status, 303);
    let own = &shared.alice.id;

    let chosen: Vec<_> =
        [&first.id, &second.id, &first.id, &stopped.id, own].iter().map(|id| format!("key={id}")).collect();
    let question = visitor.page(&format!("/keys/deactivate?{}&to=/keys", chosen.join("&")));
    assert!(question.contains("these 2 keys") && question.contains(&first.access_key), "{question}");
    assert_eq!(question.matches("name=\"key\"").count(), 2, "{question}");
    let (_, skipped) = question.split_once("deactivate-keys-skipped").unwrap();
    assert!(
        skipped.contains("It is not active.") && skipped.contains("You have signed in with this key."),
        "{skipped}"
    );
    assert!(!question.contains("<b>"), "{question}");

    let request = |key| Request::get("/v1/projects/e1/x").key(key);
    shared.stage.passes(request(first));
    // what the question has left out is refused as well, and what is not for the caller to see
    let others = &"1c1".to_owned();
    let fields = [&first.id, &second.id, &stopped.id, own, others].map(|id| ("key", id.as_str()));
    let answer = visitor.post("/keys/deactivate", &fields);
    assert_eq!(answer.status, 200, "{answer:?}");
    let page = answer.text();
    for key in [first, second] {
        let row = row_of(&page, &key.id).unwrap();
        assert!(row.contains(">Deactivated</span>") && row.contains("In force on "), "{row}");
        shared.stage.refuses(request(key), &[401]);
    }
    for (id, word) in
        [(&stopped.id, "is inactive"), (own, "Deactivate it on its own"), (others, ">Not found</span>")]
    {
        assert!(row_of(&page, id).unwrap().contains(word), "{page}");
    }
    assert_eq!(visitor.get("/keys").status, 200, "the session goes on");
}

#[test]
fn a_bulk_question_without_keys_or_with_too_many_is_refused() {
    let visitor = Visitor::signed_in(shared().gateway(), &shared().alice);
    let many: Vec<_> = (1..=101).map(|number| format!("key=1c{number}")).collect();
    for (query, status) in
        [(String::new(), 422), ("key=".to_owned(), 404), ("key=x".to_owned(), 404), (many.join("&"), 422)]
    {
        let answer = visitor.get(&format!("/keys/deactivate?{query}"));
        assert!([status, 404].contains(&answer.status), "{query}: {answer:?}");
    }
    assert_eq!(visitor.post("/keys/deactivate", &[]).status, 422);
    let member = Visitor::signed_in(shared().gateway(), &shared().alice);
    let page = member.page("/keys?environment=e2");
    assert!(!page.contains("environment-keys-bulk"), "members do not change keys: {page}");
    let id = &shared().stage.e2.id;
    let answer = member.post("/keys/deactivate", &[("key", id)]);
    assert!(row_of(&answer.text(), id).unwrap().contains(">Not permitted</span>"), "{answer:?}");
    shared().stage.passes(Request::get("/v1/projects/e2/x").key(&shared().stage.e2));
}
