//! How requests and responses are framed: one message per direction, ended by closing it.

use std::io;

use bytes::Bytes;
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response;
use rlswarm_proto::wire::{CHUNK_TAG, MAX_CHUNK, MAX_REQUEST, MAX_RESPONSE, Request, Response};

/// The codec of the pull protocol.
#[derive(Debug, Clone, Default)]
pub(crate) struct Codec;

async fn read_bounded<T>(io: &mut T, max: usize, expected: usize) -> io::Result<Vec<u8>>
where
    T: AsyncRead + Unpin + Send,
{
    let mut bytes = Vec::with_capacity(expected);
    io.take(max as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long"));
    }
    Ok(bytes)
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl request_response::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Request;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Request>
    where
        T: AsyncRead + Unpin + Send,
    {
        Request::decode(&read_bounded(io, MAX_REQUEST, 64).await?).map_err(invalid)
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let bytes = Bytes::from(read_bounded(io, MAX_RESPONSE, MAX_CHUNK + 1).await?);
        Response::decode(&bytes).map_err(invalid)
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Request,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        io.write_all(&request.encode()).await?;
        io.close().await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Response,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        // The bulk of all traffic, without another copy.
        if let Response::Chunk(chunk) = response {
            io.write_all(&[CHUNK_TAG]).await?;
            io.write_all(&chunk).await?;
        } else {
            io.write_all(&response.encode()).await?;
        }
        io.close().await
    }
}
