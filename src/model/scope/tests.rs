use super::*;

fn fields(json: &str) -> ScopeFields {
    serde_json::from_str(json).unwrap()
}

fn scope(json: &str) -> Scope {
    json.parse().unwrap()
}

fn path(text: &str) -> ScopePath {
    text.parse().unwrap()
}

#[test]
fn a_scope_is_written_as_it_was_read() {
    let whole = r#"{"methods":["GET","PROPFIND"],"networks":["10.0.0.0/8","2001:db8::/32"],"paths":["/v1/projects/*/builds/**"],"read_only":true}"#;
    assert_eq!(scope(whole).to_string(), whole);
    let read: Scope = scope(r#"{"read_only":true}"#);
    assert_eq!(read.to_string(), r#"{"methods":[],"networks":[],"paths":[],"read_only":true}"#);
    for path in ["/", "/**", "/a", "/a/*", "/*/b.c/**", "/a/*/**"] {
        assert_eq!(path.parse::<ScopePath>().unwrap().to_string(), path);
    }
    // what is written twice, and what is written in another form
    let odd =
        scope(r#"{"methods":["GET","GET"],"networks":["192.0.2.7","::ffff:10.0.0.0/104","10.0.0.0/8"]}"#);
    assert_eq!(odd.fields().methods, ["GET"]);
    assert_eq!(odd.fields().networks, ["192.0.2.7/32", "10.0.0.0/8"]);
}

#[test]
fn what_narrows_nothing_is_no_scope() {
    assert_eq!(Scope::new(&fields("{}")), Ok(None));
    assert_eq!(Scope::new(&fields(r#"{"read_only":false,"methods":[]}"#)), Ok(None));
    // in the store it would be a scope that was lost
    assert_eq!("{}".parse::<Scope>(), Err(ScopeError::Empty));
}

#[test]
fn what_is_no_scope_is_refused() {
    for json in ["", "null", "7", "{\"read_only\":1}", "{\"readOnly\":true}", "{\"networks\":\"10.0.0.0/8\"}"]
    {
        assert!(matches!(json.parse::<Scope>(), Err(ScopeError::Json(_))), "{json}");
    }
    for method in ["", "G T", "GET,POST", "\u{e9}", &"X".repeat(33)] {
        let fields = ScopeFields { methods: vec![method.to_owned()], ..ScopeFields::default() };
        assert_eq!(Scope::new(&fields), Err(ScopeError::Method(method.to_owned())));
    }
    for network in
        ["", "10.0.0.0/33", "10.0.0.1/8", "::ffff:10.0.0.1/104", "fe80::1%eth0", "10.0.0", "localhost"]
    {
        let fields = ScopeFields { networks: vec![network.to_owned()], ..ScopeFields::default() };
        assert!(Scope::new(&fields).is_err(), "{network}");
    }
    let many = |count: usize| ScopeFields {
        paths: (0..count).map(|number| format!("/{number}")).collect(),
        ..ScopeFields::default()
    };
    assert!(Scope::new(&many(16)).is_ok());
    assert_eq!(Scope::new(&many(17)), Err(ScopeError::TooMany { what: "paths", most: 16 }));
}

#[test]
fn paths_that_could_be_misread_are_refused() {
    for text in [
        "", "v1", "/v1/", "//", "/a//b", "/a/**/b", "/a/.", "/..", "/a./b", "/a%20", "/a*", "/a;b", "/***",
        "/{x}", "//**",
    ] {
        assert!(text.parse::<ScopePath>().is_err(), "{text}");
    }
    assert!(format!("/{}", "a".repeat(1024)).parse::<ScopePath>().is_err());
}

#[test]
fn paths_match_segment_by_segment() {
    for (pattern, inside, outside) in [
        ("/", &["/"][..], &["/a", ""][..]),
        ("/**", &["/", "/a", "/a/b%20/", "/;"], &["", "*"]),
        ("/a", &["/a"], &["/", "/a/", "/a/b", "/A", "/a;x", "/%61", "/a.", "/b"]),
        ("/a/**", &["/a", "/a/", "/a/b", "/a/b%2Fc/;x"], &["/", "/ab", "/A/b", "/a;/b", "/a%2Fb"]),
        (
            "/v1/projects/*/builds/**",
            &["/v1/projects/1a5/builds", "/v1/projects/1A.5/builds/7?"],
            &[
                "/v1/projects/1a5",
                "/v1/projects/builds/x",
                "/v1/projects//builds",
                "/v1/projects/1a5/Builds/7",
                "/v1/projects/1a5/builds;x/7",
                "/v1/projects/1a5/%62uilds/7",
                "/v1/projects/1a5%2Fx/builds/7",
                "/v1/projects/./builds/7",
                "/v1/projects/1a5./builds/7",
                "/v1/projects/1a5;x/builds/7",
                "/v1/projects/a:b/builds/7",
            ],
        ),
    ] {
        let pattern = path(pattern);
        for inside in inside {
            assert!(pattern.matches(inside.as_bytes()), "{inside} is within {pattern}");
        }
        for outside in outside {
            assert!(!pattern.matches(outside.as_bytes()), "{outside} is outside {pattern}");
        }
    }
}

#[test]
fn addresses_count_as_what_they_are() {
    let scope = scope(r#"{"networks":["10.0.0.0/8","2001:db8:1::/48","::ffff:192.0.2.0/120"]}"#);
    for inside in ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8:1:2::3", "192.0.2.9", "::ffff:192.0.2.9"] {
        assert!(scope.has_address(inside.parse().unwrap()), "{inside}");
    }
    for outside in ["11.0.0.1", "::ffff:11.0.0.1", "2001:db8:2::1", "192.0.3.9", "::10.1.2.3", "::1"] {
        assert!(!scope.has_address(outside.parse().unwrap()), "{outside}");
    }
    // all of IPv6 is not IPv4
    let v6: Scope = r#"{"networks":["::/0"]}"#.parse().unwrap();
    assert!(!v6.has_address("::ffff:10.1.2.3".parse().unwrap()));
}

#[test]
fn an_intersection_allows_what_both_allow() {
    for (one, other, both) in [
        (r#"{"read_only":true}"#, r#"{"methods":["GET"]}"#, Some(r#"{"read_only":true,"methods":["GET"]}"#)),
        (r#"{"methods":["GET","PUT"]}"#, r#"{"methods":["PUT","POST"]}"#, Some(r#"{"methods":["PUT"]}"#)),
        (r#"{"methods":["GET"]}"#, r#"{"methods":["POST"]}"#, None),
        (r#"{"paths":["/a/**"]}"#, r#"{"paths":["/a/b","/a/*/c"]}"#, Some(r#"{"paths":["/a/b","/a/*/c"]}"#)),
        (r#"{"paths":["/a/b"]}"#, r#"{"paths":["/a/**"]}"#, Some(r#"{"paths":["/a/b"]}"#)),
        (r#"{"paths":["/a/**"]}"#, r#"{"read_only":true}"#, Some(r#"{"read_only":true,"paths":["/a/**"]}"#)),
        (r#"{"paths":["/a/**"]}"#, r#"{"paths":["/b/**"]}"#, None),
        (r#"{"paths":["/a/*"]}"#, r#"{"paths":["/*/b"]}"#, None),
        (
            r#"{"networks":["10.0.0.0/8","192.0.2.0/24"]}"#,
            r#"{"networks":["10.1.0.0/16","192.0.0.0/16"]}"#,
            Some(r#"{"networks":["10.1.0.0/16","192.0.2.0/24"]}"#),
        ),
        (r#"{"networks":["10.0.0.0/8"]}"#, r#"{"networks":["::/0"]}"#, None),
    ] {
        let both = both.map(scope).ok_or(Incomparable);
        assert_eq!(scope(one).intersection(&scope(other)), both, "{one} {other}");
        assert_eq!(scope(one).intersection(&scope(one)), Ok(scope(one)));
    }
}

#[test]
fn a_path_lies_within_one_that_is_wider() {
    for (narrow, wide, is_within) in [
        ("/a/b", "/a/b", true),
        ("/a/b", "/a/*", true),
        ("/a/*", "/a/b", false),
        ("/a/b/c", "/a/**", true),
        ("/a", "/a/**", true),
        ("/a/**", "/a", false),
        ("/a/**", "/a/*/**", false),
        ("/a/*/**", "/a/**", true),
        ("/a/b/**", "/**", true),
        ("/", "/**", true),
        ("/a", "/", false),
    ] {
        assert_eq!(path(narrow).is_within(&path(wide)), is_within, "{narrow} within {wide}");
    }
}
