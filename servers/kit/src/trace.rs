//! Trace context: whose trace a request belongs to, so that logs of several servers can be put together.

use rmcp::RoleServer;
use rmcp::service::RequestContext;
use tracing::Span;

/// The id of the trace that a request belongs to: from its metadata, else from the header. What is malformed is
/// none, as the W3C's recommendation wants.
pub(crate) fn trace_id(context: &RequestContext<RoleServer>) -> Option<&str> {
    let header = || {
        let parts = context.extensions.get::<http::request::Parts>()?;
        parts.headers.get("traceparent")?.to_str().ok()
    };
    context.meta.get_traceparent().and_then(of).or_else(|| header().and_then(of))
}

/// The trace id of a traceparent: `00-TRACE-SPAN-FLAGS`.
fn of(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length: usize| {
        text.len() == length
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let zero = |text: &str| text.bytes().all(|byte| byte == b'0');
    let sound = hex(version, 2) && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    (sound && version != "ff" && !zero(trace) && !zero(span)).then_some(trace)
}

/// What all that is logged during a call carries. A call without a trace costs nothing here.
pub(crate) fn span(trace_id: Option<&str>, tool: &str) -> Span {
    match trace_id {
        Some(trace_id) => tracing::info_span!("call", trace_id, tool),
        None => Span::none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_id_is_read_and_what_is_malformed_is_none() {
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(of(&format!("00-{trace}-00f067aa0ba902b7-01")), Some(trace));
        assert_eq!(of(&format!("cc-{trace}-00f067aa0ba902b7-01-later")), Some(trace));
        for bad in [
            "",
            "00-1-2-01",
            &format!("ff-{trace}-00f067aa0ba902b7-01"),
            &format!("00-{}-00f067aa0ba902b7-01", trace.to_uppercase()),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{trace}-{}-01", "0".repeat(16)),
            &format!("00-{trace}-00f067aa0ba902b7"),
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
