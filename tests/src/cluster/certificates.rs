//! The certificate authority of the cluster, and the kubeconfigs of those whom it knows.
//!
//! The authority's key stays in the run folder, so that a later process can issue further identities.

use std::path::PathBuf;

use anyhow::{Context, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{layout, network};

/// What a certificate is for.
pub(crate) enum Use<'names> {
    Client,
    Server(&'names [&'names str]),
}

/// A certificate and its key, as PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

pub(crate) struct Authority {
    params: CertificateParams,
    key: KeyPair,
}

pub(crate) fn authority_file() -> PathBuf {
    layout::pki().join("ca.crt")
}

pub(crate) fn authority_key_file() -> PathBuf {
    layout::pki().join("ca.key")
}

impl Authority {
    /// The authority of this run; a new one if there is none yet.
    pub(crate) fn open() -> Result<Self> {
        let (certificate_file, key_file) = (authority_file(), authority_key_file());
        let known = certificate_file.exists() && key_file.exists();
        let key = if known {
            let pem = std::fs::read_to_string(&key_file)
                .with_context(|| format!("cannot read {}", key_file.display()))?;
            KeyPair::from_pem(&pem).with_context(|| format!("{} is no key", key_file.display()))?
        } else {
            KeyPair::generate().context("cannot generate a key")?
        };
        let mut params = named("mcp-system-tests", None, Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
        if !known {
            let certificate = params.self_signed(&key).context("cannot sign the authority's certificate")?;
            layout::write(&key_file, key.serialize_pem())?;
            layout::write(&certificate_file, certificate.pem())?;
        }
        Ok(Self { params, key })
    }

    /// Signs a certificate. Kubernetes reads the common name as the user, the organization as a group.
    pub(crate) fn issue(&self, user: &str, group: Option<&str>, purpose: &Use<'_>) -> Result<Issued> {
        let (names, usage) = match purpose {
            Use::Client => (Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
            Use::Server(names) => {
                (names.iter().map(ToString::to_string).collect(), ExtendedKeyUsagePurpose::ServerAuth)
            }
        };
        let mut params = named(user, group, names)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().context("cannot generate a key")?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params
            .signed_by(&key, &issuer)
            .with_context(|| format!("cannot sign a certificate for {user}"))?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// Signs a certificate and writes it to `NAME.crt` and `NAME.key`.
    pub(crate) fn issue_files(
        &self,
        name: &str,
        user: &str,
        group: Option<&str>,
        purpose: &Use<'_>,
    ) -> Result<()> {
        let issued = self.issue(user, group, purpose)?;
        layout::write(&layout::pki().join(format!("{name}.crt")), issued.certificate)?;
        layout::write(&layout::pki().join(format!("{name}.key")), issued.key)
    }

    /// Writes a kubeconfig with which its bearer is this user, in this group.
    pub(crate) fn kubeconfig(&self, name: &str, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let issued = self.issue(user, group, &Use::Client)?;
        let authority = std::fs::read(authority_file()).context("cannot read the authority's certificate")?;
        let encode = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let config = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "mcp-system-tests", "cluster": {
                "server": format!("https://{}:6443", network::NODE_IP),
                "certificate-authority-data": encode(&authority),
            }}],
            "users": [{"name": user, "user": {
                "client-certificate-data": encode(issued.certificate.as_bytes()),
                "client-key-data": encode(issued.key.as_bytes()),
            }}],
            "contexts": [{"name": "mcp-system-tests", "context": {"cluster": "mcp-system-tests", "user": user}}],
            "current-context": "mcp-system-tests",
        });
        let path = layout::kubeconfig(name);
        layout::write(&path, format!("{config:#}\n"))?;
        Ok(path)
    }
}

/// A key pair that signs and checks service account tokens.
pub(crate) fn service_account_keys() -> Result<()> {
    let private = layout::pki().join("service-accounts.key");
    if private.exists() {
        return Ok(());
    }
    let key = KeyPair::generate().context("cannot generate a key")?;
    layout::write(&layout::pki().join("service-accounts.pub"), key.public_key_pem())?;
    layout::write(&private, key.serialize_pem())
}

fn named(user: &str, group: Option<&str>, names: Vec<String>) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names).context("a name that no certificate can hold")?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.distinguished_name.push(DnType::CommonName, user);
    Ok(params)
}
