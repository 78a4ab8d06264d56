//! What Pingora asks of each stream and never uses here: ids, digests, proxies before it. None has any.

/// Gives a stream all that Pingora asks for beside its bytes.
macro_rules! bare {
    ($stream:ty) => {
        impl pingora::protocols::UniqueID for $stream {
            fn id(&self) -> pingora::protocols::UniqueIDType {
                0
            }
        }

        impl pingora::protocols::Ssl for $stream {}

        impl pingora::protocols::GetTimingDigest for $stream {
            fn get_timing_digest(&self) -> Vec<Option<pingora::protocols::TimingDigest>> {
                Vec::new()
            }
        }

        impl pingora::protocols::GetProxyDigest for $stream {
            fn get_proxy_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora::protocols::raw_connect::ProxyDigest>> {
                None
            }
        }

        impl pingora::protocols::GetSocketDigest for $stream {
            fn get_socket_digest(
                &self,
            ) -> Option<std::sync::Arc<pingora::protocols::SocketDigest>> {
                None
            }
        }

        impl pingora::protocols::Peek for $stream {}

        #[async_trait::async_trait]
        impl pingora::protocols::Shutdown for $stream {
            async fn shutdown(&mut self) {
                // One that is gone needs no goodbye.
                let _ = tokio::io::AsyncWriteExt::shutdown(self).await;
            }
        }
    };
}

pub(super) use bare;
